"""Roles and who has them, permissions, the outbox of the audit log, and the search for users."""

import sqlalchemy as sa
from alembic import op

revision = "5d0b1c6f2a9e"
down_revision = "797fc5cc94aa"
branch_labels = None
depends_on = None

_NGRAMS = """
CREATE FUNCTION ngrams(words text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000
RETURN ARRAY(
  SELECT substr(word, start, size) COLLATE "C"
    FROM unnest(words) AS word, generate_series(1, length(word)) AS start, generate_series(1, 3) AS size
)
"""


def upgrade() -> None:
    _make_users_searchable()
    op.create_table(
        "roles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("grants", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("buttons", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("routers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('active', 'disabled')", name=op.f("ck_roles_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roles")),
        sa.UniqueConstraint("code", name=op.f("uq_roles_code")),
        sa.UniqueConstraint("name_key", name=op.f("uq_roles_name_key")),
    )
    op.create_table(
        "user_roles",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_roles_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["role_id"], ["roles.id"], name=op.f("fk_user_roles_role_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "role_id", name=op.f("pk_user_roles")),
    )
    op.create_index("ix_user_roles_role_id", "user_roles", ["role_id"])
    op.create_table(
        "permissions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("method", sa.Text(collation="C"), nullable=False),
        sa.Column("path", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_permissions")),
        sa.UniqueConstraint("method", "path", name=op.f("uq_permissions_method_path")),
    )
    op.create_table(
        "audit_outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("actor", sa.Uuid(), nullable=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_outbox")),
    )
    op.create_index("ix_audit_outbox_at_id", "audit_outbox", ["at", "id"])


def _make_users_searchable() -> None:
    # A version of the code that does not know the column adds users whom only the name does not find.
    op.add_column(
        "users",
        sa.Column("name_key", sa.Text(collation="C"), nullable=False, server_default=""),
    )
    op.execute("UPDATE users SET name_key = normalize(lower(normalize(name, NFKC)), NFKC)")
    op.execute(_NGRAMS)
    op.create_index(
        "ix_users_ngrams",
        "users",
        [sa.text("ngrams(ARRAY[username_key, email_key, name_key])")],
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 256},
    )
    op.create_index(
        "ix_users_disabled",
        "users",
        ["username_key"],
        postgresql_where=sa.text("status = 'disabled'"),
    )


def downgrade() -> None:
    for table in ("audit_outbox", "permissions", "user_roles", "roles"):
        op.drop_table(table)
    op.drop_index("ix_users_disabled", table_name="users")
    op.drop_index("ix_users_ngrams", table_name="users")
    op.execute("DROP FUNCTION ngrams(text[])")
    op.drop_column("users", "name_key")
