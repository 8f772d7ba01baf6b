"""Files, and the id of the installation."""

import sqlalchemy as sa
from alembic import op

revision = "2b9e61c4d7f0"
down_revision = "7c4d1f0be925"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("visibility", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("part_size", sa.Integer(), nullable=True),
        sa.Column("upload_id", sa.Text(), nullable=True),
        sa.Column("claim", sa.Uuid(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("urls_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("purge_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'stored', 'deleted')", name=op.f("ck_files_state")
        ),
        sa.CheckConstraint("purpose IN ('file', 'avatar')", name=op.f("ck_files_purpose")),
        sa.CheckConstraint("visibility IN ('private', 'shared')", name=op.f("ck_files_visibility")),
        sa.CheckConstraint("size > 0", name=op.f("ck_files_size")),
        sa.CheckConstraint(
            "state <> 'stored' OR etag IS NOT NULL", name=op.f("ck_files_stored_has_etag")
        ),
        sa.CheckConstraint(
            "(state = 'deleted') = (purge_at IS NOT NULL)", name=op.f("ck_files_deleted_is_purged")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
    )
    op.create_index("ix_files_owner_id", "files", ["owner", "id"])
    op.create_index(
        "ix_files_usage",
        "files",
        ["owner", "created_at", "id"],
        postgresql_include=["size", "state", "purpose"],
        postgresql_where=sa.text("state <> 'deleted'"),
    )
    op.create_index(
        "ix_files_expires_at",
        "files",
        ["expires_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_files_purge_at", "files", ["purge_at"], postgresql_where=sa.text("state = 'deleted'")
    )
    op.create_index(
        "ix_files_avatar",
        "files",
        ["owner"],
        unique=True,
        postgresql_where=sa.text("state = 'stored' AND purpose = 'avatar'"),
    )
    op.create_table(
        "installation",
        sa.Column("number", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.CheckConstraint("number = 1", name=op.f("ck_installation_number")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_installation")),
    )


def downgrade() -> None:
    op.drop_table("installation")
    op.drop_table("files")
