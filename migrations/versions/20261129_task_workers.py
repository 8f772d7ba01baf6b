"""What each worker offers. Workers that run say it again within a minute, so nothing is carried over."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c7e02d95b3f1"
down_revision = "e3a9514bd07c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "task_workers",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("offer", sa.Text(), nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_task_workers")),
    )
    op.create_index("ix_task_workers_offer", "task_workers", ["offer"])
    op.drop_table("registered_tasks")
    _make_registered_tasks("name", "offer")


def downgrade() -> None:
    op.drop_table("registered_tasks")
    _make_registered_tasks("name")
    op.drop_table("task_workers")


def _make_registered_tasks(*key: str) -> None:
    offer = [sa.Column("offer", sa.Text(), nullable=False)] if "offer" in key else []
    op.create_table(
        "registered_tasks",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        *offer,
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(), nullable=False),
        sa.Column("accepts_anything", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_registered_tasks")),
    )
