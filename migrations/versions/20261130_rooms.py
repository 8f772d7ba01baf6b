"""Rooms and their members."""

import sqlalchemy as sa
from alembic import op

revision = "7c4d1f0be925"
down_revision = "d2f60b8e43a1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rooms",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('open', 'private')", name=op.f("ck_rooms_kind")),
        sa.ForeignKeyConstraint(
            ["owner"], ["users.id"], name=op.f("fk_rooms_owner"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rooms")),
    )
    op.create_index("ix_rooms_owner", "rooms", ["owner"])
    for name, column in (("name", "name_key"), ("created_at", "created_at")):
        op.create_index(
            f"ix_rooms_open_{name}",
            "rooms",
            [column, "id"],
            postgresql_where=sa.text("kind = 'open'"),
        )
    op.create_table(
        "room_members",
        sa.Column("room_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["room_id"], ["rooms.id"], name=op.f("fk_room_members_room_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_room_members_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("room_id", "user_id", name=op.f("pk_room_members")),
    )
    op.create_index("ix_room_members_user_id", "room_members", ["user_id"])


def downgrade() -> None:
    op.drop_table("room_members")
    op.drop_table("rooms")
