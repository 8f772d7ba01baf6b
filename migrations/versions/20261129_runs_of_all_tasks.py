"""Runs can be called off, and looked for over all tasks."""

import sqlalchemy as sa
from alembic import op

revision = "f4a19c7d20be"
down_revision = "c7e02d95b3f1"
branch_labels = None
depends_on = None

_STATES = "'requested', 'claimed', 'published', 'started', 'succeeded', 'failed', 'skipped'"


def upgrade() -> None:
    _check(f"{_STATES}, 'cancelled'")
    op.create_index("ix_task_runs_scheduled_for_id", "task_runs", ["scheduled_for", "id"])
    op.drop_index("ix_task_runs_scheduled_for", "task_runs")
    op.create_index(
        "ix_task_runs_not_succeeded",
        "task_runs",
        ["state", "scheduled_for", "id"],
        postgresql_where=sa.text("state IN ('failed', 'skipped', 'cancelled')"),
    )


def downgrade() -> None:
    op.drop_index("ix_task_runs_not_succeeded", "task_runs")
    op.create_index("ix_task_runs_scheduled_for", "task_runs", ["scheduled_for"])
    op.drop_index("ix_task_runs_scheduled_for_id", "task_runs")
    op.execute("UPDATE task_runs SET state = 'skipped' WHERE state = 'cancelled'")
    _check(_STATES)


def _check(states: str) -> None:
    op.drop_constraint(op.f("ck_task_runs_state"), "task_runs")
    op.create_check_constraint(op.f("ck_task_runs_state"), "task_runs", f"state IN ({states})")
