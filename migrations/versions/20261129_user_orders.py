"""Indexes for the orders of the list of users."""

from alembic import op

revision = "5d0b1f6e8a37"
down_revision = "b61c0f4e9a27"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_users_name_key", "users", ["name_key", "id"])
    op.create_index("ix_users_created_at", "users", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_users_created_at", "users")
    op.drop_index("ix_users_name_key", "users")
