"""One name in every layer: schedule states, the time until which slots are handled, and the deadline of a run."""

from alembic import op

revision = "a7d3e50b91c8"
down_revision = "f4a19c7d20be"
branch_labels = None
depends_on = None

_FUNCTIONS = (
    """
CREATE OR REPLACE FUNCTION note_deleted_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM {table} WHERE task_id = OLD.id;
  INSERT INTO deleted_periodic_tasks VALUES (OLD.id, pg_current_xact_id()::text::bigint, now())
    ON CONFLICT (task_id) DO UPDATE SET deleted_in = excluded.deleted_in, deleted_at = excluded.deleted_at;
  RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE FUNCTION note_truncated_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM {table} USING periodic_tasks WHERE task_id = id;
  INSERT INTO deleted_periodic_tasks SELECT id, pg_current_xact_id()::text::bigint, now() FROM periodic_tasks
    ON CONFLICT (task_id) DO UPDATE SET deleted_in = excluded.deleted_in, deleted_at = excluded.deleted_at;
  RETURN NULL;
END $$
""",
)
# The primary key; and since PostgreSQL 18 every NOT NULL has a name too.
_RENAME_CONSTRAINTS = """
DO $$
DECLARE old_name text;
BEGIN
  FOR old_name IN
    SELECT conname FROM pg_constraint WHERE conrelid = '{new}'::regclass AND conname LIKE '%{old}%'
  LOOP
    EXECUTE format('ALTER TABLE {new} RENAME CONSTRAINT %I TO %I', old_name, replace(old_name, '{old}', '{new}'));
  END LOOP;
END $$
"""


def upgrade() -> None:
    _rename_table("periodic_task_standings", "schedule_states")
    op.alter_column("schedule_states", "settled_until", new_column_name="handled_until")
    op.alter_column("task_runs", "lapses_at", new_column_name="deadline")


def downgrade() -> None:
    op.alter_column("task_runs", "deadline", new_column_name="lapses_at")
    op.alter_column("schedule_states", "handled_until", new_column_name="settled_until")
    _rename_table("schedule_states", "periodic_task_standings")


def _rename_table(old: str, new: str) -> None:
    op.rename_table(old, new)
    op.execute(f"ALTER INDEX ix_{old}_problem RENAME TO ix_{new}_problem")
    op.execute(_RENAME_CONSTRAINTS.format(old=old, new=new))
    for function in _FUNCTIONS:  # their bodies name the table
        op.execute(function.format(table=new))
