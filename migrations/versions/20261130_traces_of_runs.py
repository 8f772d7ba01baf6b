"""The trace in which a run was requested, which its task goes on with."""

import sqlalchemy as sa
from alembic import op

revision = "c58d20f7a1e4"
down_revision = "b1a7e30c94d6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "task_runs", sa.Column("traceparent", sa.Text(), nullable=False, server_default="")
    )


def downgrade() -> None:
    op.drop_column("task_runs", "traceparent")
