"""When a periodic task was reset, so that a beat learns of it."""

import sqlalchemy as sa
from alembic import op

revision = "b61c0f4e9a27"
down_revision = "c1a7d20f6b83"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "periodic_tasks", sa.Column("reset_at", sa.DateTime(timezone=True), nullable=True)
    )


def downgrade() -> None:
    op.drop_column("periodic_tasks", "reset_at")
