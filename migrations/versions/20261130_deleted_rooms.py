"""Deleted rooms, until their messages are deleted too."""

import sqlalchemy as sa
from alembic import op

revision = "b1a7e30c94d6"
down_revision = "e41c7a90d3b8"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deleted_rooms",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deleted_rooms")),
    )


def downgrade() -> None:
    op.drop_table("deleted_rooms")
