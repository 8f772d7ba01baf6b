"""Periodic tasks, where they stand, their runs, who leads the beats, and the tasks that workers know."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "8f2e7d90c1b4"
down_revision = "5d0b1c6f2a9e"
branch_labels = None
depends_on = None

_FUNCTIONS = (
    """
CREATE FUNCTION note_changed_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed_in := pg_current_xact_id()::text::bigint;
  RETURN NEW;
END $$
""",
    """
CREATE FUNCTION note_deleted_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM periodic_task_standings WHERE task_id = OLD.id;
  INSERT INTO deleted_periodic_tasks VALUES (OLD.id, pg_current_xact_id()::text::bigint, now())
    ON CONFLICT (task_id) DO UPDATE SET deleted_in = excluded.deleted_in, deleted_at = excluded.deleted_at;
  RETURN NULL;
END $$
""",
    """
CREATE FUNCTION note_truncated_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM periodic_task_standings USING periodic_tasks WHERE task_id = id;
  INSERT INTO deleted_periodic_tasks SELECT id, pg_current_xact_id()::text::bigint, now() FROM periodic_tasks
    ON CONFLICT (task_id) DO UPDATE SET deleted_in = excluded.deleted_in, deleted_at = excluded.deleted_at;
  RETURN NULL;
END $$
""",
    """
CREATE FUNCTION tell_beats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('portico_scheduling', '');
  RETURN NULL;
END $$
""",
)
_TRIGGERS = (
    """
CREATE TRIGGER note_change BEFORE INSERT OR UPDATE ON periodic_tasks
  FOR EACH ROW EXECUTE FUNCTION note_changed_task()
""",
    """
CREATE TRIGGER note_deletion AFTER DELETE ON periodic_tasks
  FOR EACH ROW EXECUTE FUNCTION note_deleted_task()
""",
    """
CREATE TRIGGER note_truncation BEFORE TRUNCATE ON periodic_tasks
  FOR EACH STATEMENT EXECUTE FUNCTION note_truncated_tasks()
""",
    """
CREATE TRIGGER tell_beats AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON periodic_tasks
  FOR EACH STATEMENT EXECUTE FUNCTION tell_beats()
""",
)
_NOW = sa.text("now()")


def upgrade() -> None:
    _make_definitions()
    _make_runs()
    op.create_table(
        "beat_lease",
        sa.Column("id", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("beat", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("leads_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("id", name=op.f("ck_beat_lease_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_beat_lease")),
    )
    op.create_table(
        "registered_tasks",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(), nullable=False),
        sa.Column("accepts_anything", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_registered_tasks")),
    )
    for statement in (*_FUNCTIONS, *_TRIGGERS):
        op.execute(statement)


def _make_definitions() -> None:
    op.create_table(
        "periodic_tasks",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("schedule", postgresql.JSONB(), nullable=False),
        sa.Column("args", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("kwargs", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("options", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("one_off", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("max_runs", sa.Integer(), nullable=True),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("jitter", sa.Double(), server_default="0", nullable=False),
        sa.Column("misfire", sa.Text(), server_default="run_once", nullable=False),
        sa.Column("misfire_grace", sa.Double(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("enabled_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("changed_in", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_periodic_tasks")),
        sa.UniqueConstraint("name", name=op.f("uq_periodic_tasks_name")),
    )
    op.create_index("ix_periodic_tasks_changed_in", "periodic_tasks", ["changed_in"])
    op.create_table(
        "deleted_periodic_tasks",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("deleted_in", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_deleted_periodic_tasks")),
    )
    op.create_index(
        "ix_deleted_periodic_tasks_deleted_in", "deleted_periodic_tasks", ["deleted_in"]
    )
    op.create_table(
        "periodic_task_standings",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("settled_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("runs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_periodic_task_standings")),
    )
    op.create_index(
        "ix_periodic_task_standings_problem",
        "periodic_task_standings",
        ["task_id"],
        postgresql_where=sa.text("problem IS NOT NULL"),
    )


def _make_runs() -> None:
    op.create_table(
        "task_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("scheduled_for", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lapses_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("worker", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "state IN ('requested', 'claimed', 'published', 'started', 'succeeded', 'failed', 'skipped')",
            name=op.f("ck_task_runs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_runs")),
    )
    op.create_index(
        "ix_task_runs_task_id_scheduled_for_id", "task_runs", ["task_id", "scheduled_for", "id"]
    )
    op.create_index("ix_task_runs_scheduled_for", "task_runs", ["scheduled_for"])
    op.create_index(
        "ix_task_runs_unpublished",
        "task_runs",
        ["state"],
        postgresql_where=sa.text("state IN ('requested', 'claimed')"),
    )
    op.create_index(
        "ix_task_runs_going_on",
        "task_runs",
        ["task_id"],
        postgresql_where=sa.text("state IN ('claimed', 'published', 'started')"),
    )


def downgrade() -> None:
    for table in (
        "registered_tasks",
        "beat_lease",
        "task_runs",
        "periodic_task_standings",
        "deleted_periodic_tasks",
        "periodic_tasks",
    ):
        op.drop_table(table)
    for function in (
        "note_changed_task",
        "note_deleted_task",
        "note_truncated_tasks",
        "tell_beats",
    ):
        op.execute(f"DROP FUNCTION {function}()")
