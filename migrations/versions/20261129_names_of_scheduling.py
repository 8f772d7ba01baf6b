"""Triggers of `periodic_tasks` and an index of `task_runs` get names that say what they do. Nothing else changes."""

from alembic import op

revision = "d2f60b8e43a1"
down_revision = "a7d3e50b91c8"
branch_labels = None
depends_on = None

_FUNCTIONS = {
    "note_changed_task": "set_changed_in",
    "note_deleted_task": "record_deleted_task",
    "note_truncated_tasks": "record_truncated_tasks",
    "tell_beats": "notify_beats",
}
_TRIGGERS = {
    "note_change": "set_changed_in",
    "note_deletion": "record_deletion",
    "note_truncation": "record_truncation",
    "tell_beats": "notify_beats",
}
_INDEXES = {"ix_task_runs_going_on": "ix_task_runs_active"}


def upgrade() -> None:
    for old, new in _FUNCTIONS.items():
        op.execute(f"ALTER FUNCTION {old}() RENAME TO {new}")
    for old, new in _TRIGGERS.items():
        op.execute(f"ALTER TRIGGER {old} ON periodic_tasks RENAME TO {new}")
    for old, new in _INDEXES.items():
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")


def downgrade() -> None:
    for old, new in _FUNCTIONS.items():
        op.execute(f"ALTER FUNCTION {new}() RENAME TO {old}")
    for old, new in _TRIGGERS.items():
        op.execute(f"ALTER TRIGGER {new} ON periodic_tasks RENAME TO {old}")
    for old, new in _INDEXES.items():
        op.execute(f"ALTER INDEX {new} RENAME TO {old}")
