"""The tables of periodic tasks, their runs and the beat's lease, and the triggers that tell beats of changes."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    event,
    false,
    func,
    literal,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from adapters.postgres.tables import Key, metadata
from domain.scheduling.task_runs import ACTIVE_STATES

# The definitions. An INSERT by hand needs only the name, the task and the schedule; other columns have defaults.
periodic_tasks = Table(
    "periodic_tasks",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("name", Key, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("task", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("schedule", JSONB, nullable=False),
    # Handed on as they are; JSONB would change numbers.
    Column("args", JSON, nullable=False, server_default="[]"),
    Column("kwargs", JSON, nullable=False, server_default="{}"),
    Column("options", JSON, nullable=False, server_default="{}"),
    Column("start_at", DateTime(timezone=True)),
    Column("end_at", DateTime(timezone=True)),
    Column("one_off", Boolean, nullable=False, server_default=false()),
    Column("max_runs", Integer),
    Column("max_running", Integer),
    Column("jitter", Double, nullable=False, server_default="0"),  # seconds
    Column("misfire", Text, nullable=False, server_default="run_once"),
    Column("misfire_grace", Double),  # seconds
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("enabled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("reset_at", DateTime(timezone=True)),
    # The number of the writing transaction (xid8), set by a trigger. Comparing it with snapshots finds a transaction
    # that began first and committed last; a time or a sequence would miss it.
    Column("changed_in", BigInteger, nullable=False),
    UniqueConstraint("name"),
    Index("ix_periodic_tasks_changed_in", "changed_in"),
)

# Tells beats which tasks were deleted. Old rows are pruned, because beats compare everything from time to time.
deleted_periodic_tasks = Table(
    "deleted_periodic_tasks",
    metadata,
    Column("task_id", Uuid, primary_key=True),
    Column("deleted_in", BigInteger, nullable=False),
    Column("deleted_at", DateTime(timezone=True), nullable=False),
    Index("ix_deleted_periodic_tasks_deleted_in", "deleted_in"),
)

# No foreign keys here: tasks of the configuration have a schedule state and runs too, but no row.
schedule_states = Table(
    "schedule_states",
    metadata,
    Column("task_id", Uuid, primary_key=True),
    Column("handled_until", DateTime(timezone=True)),
    Column("runs", BigInteger, nullable=False, server_default="0"),
    Column("problem", Text),
    Index(
        "ix_schedule_states_problem",
        "task_id",
        postgresql_where=text("problem IS NOT NULL"),
    ),
)

task_runs = Table(
    "task_runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("task_id", Uuid, nullable=False),
    Column("scheduled_for", DateTime(timezone=True), nullable=False),
    Column("state", Text, nullable=False),
    Column("requested", Boolean, nullable=False, server_default=false()),
    Column("epoch", BigInteger),  # of the beat that claimed it
    Column("published_at", DateTime(timezone=True)),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("deadline", DateTime(timezone=True)),
    Column("error", Text, nullable=False, server_default=""),
    Column("worker", Text, nullable=False, server_default=""),
    Column("traceparent", Text, nullable=False, server_default=""),
    CheckConstraint(
        "state IN ('requested', 'claimed', 'published', 'started', 'succeeded', 'failed', 'skipped', 'cancelled')",
        name="state",
    ),
    Index("ix_task_runs_task_id_scheduled_for_id", "task_id", "scheduled_for", "id"),
    Index("ix_task_runs_scheduled_for_id", "scheduled_for", "id"),
)
# Users search for these among all runs. Most runs succeed and are never in this index.
Index(
    "ix_task_runs_not_succeeded",
    task_runs.c.state,
    task_runs.c.scheduled_for,
    task_runs.c.id,
    postgresql_where=text("state IN ('failed', 'skipped', 'cancelled')"),
)
# Each claim looks for unpublished runs, and there are very few.
is_unpublished = task_runs.c.state.in_(
    [literal(state, literal_execute=True) for state in ("requested", "claimed")]
)
Index("ix_task_runs_unpublished", task_runs.c.state, postgresql_where=is_unpublished)
is_active = task_runs.c.state.in_(
    [literal(state.value, literal_execute=True) for state in ACTIVE_STATES]
)
Index("ix_task_runs_active", task_runs.c.task_id, postgresql_where=is_active)

# The leading beat: one row at most.
beat_lease = Table(
    "beat_lease",
    metadata,
    Column("id", Boolean, primary_key=True, server_default=true()),
    Column("beat", Uuid, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("leads_until", DateTime(timezone=True), nullable=False),
    Column("report", JSONB, nullable=False),
    CheckConstraint("id", name="one"),
)

SCHEDULING_CHANNEL = "portico_scheduling"
"""The channel that tells beats of changes."""

_SCHEDULING_TRIGGERS = (
    """
CREATE FUNCTION set_changed_in() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed_in := pg_current_xact_id()::text::bigint;
  RETURN NEW;
END $$
""",
    """
CREATE FUNCTION record_deleted_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM schedule_states WHERE task_id = OLD.id;
  INSERT INTO deleted_periodic_tasks VALUES (OLD.id, pg_current_xact_id()::text::bigint, now())
    ON CONFLICT (task_id) DO UPDATE SET deleted_in = excluded.deleted_in, deleted_at = excluded.deleted_at;
  RETURN NULL;
END $$
""",
    """
CREATE FUNCTION record_truncated_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM schedule_states USING periodic_tasks WHERE task_id = id;
  INSERT INTO deleted_periodic_tasks SELECT id, pg_current_xact_id()::text::bigint, now() FROM periodic_tasks
    ON CONFLICT (task_id) DO UPDATE SET deleted_in = excluded.deleted_in, deleted_at = excluded.deleted_at;
  RETURN NULL;
END $$
""",
    """
CREATE FUNCTION notify_beats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('portico_scheduling', '');
  RETURN NULL;
END $$
""",
    """
CREATE TRIGGER set_changed_in BEFORE INSERT OR UPDATE ON periodic_tasks
  FOR EACH ROW EXECUTE FUNCTION set_changed_in()
""",
    """
CREATE TRIGGER record_deletion AFTER DELETE ON periodic_tasks
  FOR EACH ROW EXECUTE FUNCTION record_deleted_task()
""",
    """
CREATE TRIGGER record_truncation BEFORE TRUNCATE ON periodic_tasks
  FOR EACH STATEMENT EXECUTE FUNCTION record_truncated_tasks()
""",
    """
CREATE TRIGGER notify_beats AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON periodic_tasks
  FOR EACH STATEMENT EXECUTE FUNCTION notify_beats()
""",
)


@event.listens_for(metadata, "after_create")
def _make_triggers(_: MetaData, connection: Connection, **__: object) -> None:
    for statement in _SCHEDULING_TRIGGERS:
        connection.execute(text(statement))
