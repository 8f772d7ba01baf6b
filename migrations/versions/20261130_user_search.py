"""An index in which users are searched in the order of their usernames."""

from alembic import op

revision = "e41c7a90d3b8"
down_revision = "2b9e61c4d7f0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_users_search",
        "users",
        ["username_key"],
        postgresql_include=["email_key", "name_key", "id"],
    )


def downgrade() -> None:
    op.drop_index("ix_users_search", "users")
