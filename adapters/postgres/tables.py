"""What the database holds, by name: tables, constraints, indexes, functions, locks. `migrations/` makes it so."""

from enum import IntEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Connection,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    and_,
    event,
    false,
    func,
    literal,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, array

from domain.identity import UserStatus
from domain.scheduling.task_runs import ACTIVE_STATES

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class AdvisoryLock(IntEnum):
    """Locks that belong to no table; one database has one name space for them."""

    MIGRATIONS = int.from_bytes(b"portico\1")
    ACCESS = int.from_bytes(b"portico\2")
    PERMISSIONS = int.from_bytes(b"portico\3")
    REGISTERED_TASKS = int.from_bytes(b"portico\4")


applied_migrations = Table(
    "applied_migrations",
    metadata,
    Column("revision", Text(collation="C"), primary_key=True),
    Column("applied_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""Every step that was taken: alembic itself remembers only the last one. `migrations/env.py` writes it."""

# Keys are compared byte by byte: a collation of the operating system's would be slower, and an
# upgrade of it can silently corrupt the index.
_Key = Text(collation="C")

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("username", Text, nullable=False),
    Column("username_key", _Key, nullable=False),
    # A release that knows nothing of look-alikes writes none; what it gets is no username.
    Column(
        "username_skeleton",
        _Key,
        nullable=False,
        server_default=text("('@' || gen_random_uuid())"),
    ),
    Column("email", Text, nullable=False),
    Column("email_key", _Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", _Key, nullable=False, server_default=""),
    Column("password_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("must_change_password", Boolean, nullable=False),
    Column("one_time_until", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("password_changed_at", DateTime(timezone=True), nullable=False),
    Column("sessions_ended_at", DateTime(timezone=True)),
    Column("last_login_at", DateTime(timezone=True)),
    UniqueConstraint("username_key"),
    UniqueConstraint("username_skeleton"),
    UniqueConstraint("email_key"),
    CheckConstraint("status IN ('active', 'disabled')", name="status"),
)

# A literal, not a parameter: with a parameter the planner cannot tell that the partial index applies.
is_active_administrator = and_(
    users.c.is_admin, users.c.status == literal(UserStatus.ACTIVE.value, literal_execute=True)
)
Index("ix_users_active_administrators", users.c.id, postgresql_where=is_active_administrator)

# The orders that a list of users can have, beside those of the unique keys.
Index("ix_users_name_key", users.c.name_key, users.c.id)
Index("ix_users_created_at", users.c.created_at, users.c.id)

# Whoever looks for them looks for few among many.
is_disabled = users.c.status == literal(UserStatus.DISABLED.value, literal_execute=True)
Index("ix_users_disabled", users.c.username_key, postgresql_where=is_disabled)

# Whatever contains a text has its n-grams too, and an index knows who has which. That is how pg_trgm
# works; this needs no extension, and finds Chinese names, which have two characters.
_NGRAMS = """
CREATE FUNCTION ngrams(words text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000
RETURN ARRAY(
  SELECT substr(word, start, size) COLLATE "C"
    FROM unnest(words) AS word, generate_series(1, length(word)) AS start, generate_series(1, 3) AS size
)
"""


@event.listens_for(metadata, "before_create")
def _make_functions(_: MetaData, connection: Connection, **__: object) -> None:
    connection.execute(text(_NGRAMS))


# What a keyword is looked for in.
SEARCHED = (users.c.username_key, users.c.email_key, users.c.name_key)
ngrams_of_user = func.ngrams(array(SEARCHED), type_=ARRAY(_Key))
Index(
    "ix_users_ngrams",
    ngrams_of_user,
    postgresql_using="gin",
    # Kilobytes that wait to be sorted in; every search reads all of them.
    postgresql_with={"gin_pending_list_limit": 256},
)

roles = Table(
    "roles",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("code", _Key, nullable=False),
    Column("code_key", _Key, Computed("lower(code)", persisted=True), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", _Key, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("grants", ARRAY(Text), nullable=False),
    Column("buttons", ARRAY(Text), nullable=False),
    Column("routers", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("code_key"),
    UniqueConstraint("name_key"),
    CheckConstraint("status IN ('active', 'disabled')", name="status"),
)

user_roles = Table(
    "user_roles",
    metadata,
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("role_id", Uuid, ForeignKey(roles.c.id, ondelete="CASCADE"), primary_key=True),
    Index("ix_user_roles_role_id", "role_id"),
)

permissions = Table(
    "permissions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("method", _Key, nullable=False),
    Column("path", _Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True)),
    UniqueConstraint("method", "path"),
)

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Uuid),  # no foreign key: what users did outlives them
    Column("target", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    # Handed on as it is; JSONB would change numbers.
    Column("details", JSON, nullable=False),
    Index("ix_audit_outbox_at_id", "at", "id"),
)

# What people define. Whoever writes here by hand names what runs, and when; everything else has a default.
periodic_tasks = Table(
    "periodic_tasks",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("name", _Key, nullable=False),
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
    # The number of the transaction (xid8), by a trigger, whoever writes. One that began first and committed
    # last is found by comparing this with snapshots; no time and no sequence would show it.
    Column("changed_in", BigInteger, nullable=False),
    UniqueConstraint("name"),
    Index("ix_periodic_tasks_changed_in", "changed_in"),
)

# So that a beat learns what is gone. Pruned after a while: beats compare everything now and then.
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
    CheckConstraint(
        "state IN ('requested', 'claimed', 'published', 'started', 'succeeded', 'failed', 'skipped', 'cancelled')",
        name="state",
    ),
    Index("ix_task_runs_task_id_scheduled_for_id", "task_id", "scheduled_for", "id"),
    Index("ix_task_runs_scheduled_for_id", "scheduled_for", "id"),
)
# What people look for among all runs; most succeed, and those are never in here.
Index(
    "ix_task_runs_not_succeeded",
    task_runs.c.state,
    task_runs.c.scheduled_for,
    task_runs.c.id,
    postgresql_where=text("state IN ('failed', 'skipped', 'cancelled')"),
)
# What is not published is looked for at each claim, and there is next to nothing of it.
is_unpublished = task_runs.c.state.in_(
    [literal(state, literal_execute=True) for state in ("requested", "claimed")]
)
Index("ix_task_runs_unpublished", task_runs.c.state, postgresql_where=is_unpublished)
is_active = task_runs.c.state.in_(
    [literal(state.value, literal_execute=True) for state in ACTIVE_STATES]
)
Index("ix_task_runs_going_on", task_runs.c.task_id, postgresql_where=is_active)

# One row at most: who leads.
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

# Workers of one version offer the same: each says so again and again, and the tasks themselves are there once.
task_workers = Table(
    "task_workers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("offer", Text, nullable=False),  # a hash of the tasks
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("ix_task_workers_offer", "offer"),
)

registered_tasks = Table(
    "registered_tasks",
    metadata,
    Column("name", _Key, primary_key=True),
    Column("offer", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("accepts_anything", Boolean, nullable=False),
)

SCHEDULING_CHANNEL = "portico_scheduling"
"""On which beats are told that there is something to look at."""

_SCHEDULING_TRIGGERS = (
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
  DELETE FROM schedule_states WHERE task_id = OLD.id;
  INSERT INTO deleted_periodic_tasks VALUES (OLD.id, pg_current_xact_id()::text::bigint, now())
    ON CONFLICT (task_id) DO UPDATE SET deleted_in = excluded.deleted_in, deleted_at = excluded.deleted_at;
  RETURN NULL;
END $$
""",
    """
CREATE FUNCTION note_truncated_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM schedule_states USING periodic_tasks WHERE task_id = id;
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


@event.listens_for(metadata, "after_create")
def _make_triggers(_: MetaData, connection: Connection, **__: object) -> None:
    for statement in _SCHEDULING_TRIGGERS:
        connection.execute(text(statement))
