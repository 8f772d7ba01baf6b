"""The statements of a beat, each a transaction. Those that claim look for the lease and find nothing without it.

Every statement locks runs before schedule states, in the order of their ids, so that no deadlock can occur.
"""

from sqlalchemy import text

from adapters.postgres.scheduling.rows import COLUMNS
from domain.scheduling.task_runs import ACTIVE_STATES

_ACTIVE_STATES = ", ".join(f"'{state.value}'" for state in ACTIVE_STATES)
_COLUMNS = ", ".join(f"{read} AS {column}" for column, read in COLUMNS.items())

# --- definitions ---

LOAD = text(
    f"""
SELECT mark, false AS deleted, changed_in AS version, {_COLUMNS}
  FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS mark) AS snapshot
       LEFT JOIN periodic_tasks ON true
"""  # noqa: S608 - names of columns
)

# Everything whose transaction was not over for the snapshot of the mark. What a dump brought has the
# numbers of another server, which may all lie ahead of ours: nothing that is committed here can be.
CHANGES = text(
    f"""
SELECT snapshot.mark, found.*
  FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS mark,
               pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ahead) AS snapshot
       LEFT JOIN LATERAL (
         SELECT false AS deleted, changed_in AS version, {_COLUMNS}
           FROM periodic_tasks WHERE changed_in >= :since AND changed_in < ahead
         UNION ALL
         SELECT true, deleted_in, task_id{", NULL" * (len(COLUMNS) - 1)}
           FROM deleted_periodic_tasks
          WHERE deleted_in >= :since AND deleted_in < ahead
            AND NOT EXISTS (SELECT FROM periodic_tasks WHERE periodic_tasks.id = task_id)
       ) AS found ON true
"""  # noqa: S608 - names of columns
)

VERSIONS = text("SELECT id, changed_in AS version FROM periodic_tasks")

READ = text(
    f"SELECT changed_in AS version, {_COLUMNS} FROM periodic_tasks WHERE id = ANY(CAST(:ids AS uuid[]))"  # noqa: S608
)

_SCHEDULE_STATES = (
    "SELECT task_id, handled_until, runs FROM schedule_states WHERE handled_until IS NOT NULL"
)
SCHEDULE_STATES = text(_SCHEDULE_STATES)
SCHEDULE_STATES_OF = text(f"{_SCHEDULE_STATES} AND task_id = ANY(CAST(:ids AS uuid[]))")

RECORD_PROBLEMS = text(
    """
INSERT INTO schedule_states (task_id, problem)
SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:problems AS text[])) AS new (task_id, problem) ORDER BY task_id
    ON CONFLICT (task_id) DO UPDATE SET problem = excluded.problem
"""
)

RECORDED_PROBLEMS = text("SELECT task_id, problem FROM schedule_states WHERE problem IS NOT NULL")

# --- leading ---

NOW = text("SELECT clock_timestamp() AS now")

LEAD = text(
    """
INSERT INTO beat_lease AS lease (beat, epoch, leads_until, report)
VALUES (:beat, 1, clock_timestamp() + CAST(:lease AS interval), CAST(CAST(:report AS text) AS jsonb))
    ON CONFLICT (id) DO UPDATE
   SET epoch = lease.epoch
             + CASE WHEN lease.beat = excluded.beat AND lease.leads_until > clock_timestamp() THEN 0 ELSE 1 END,
       beat = excluded.beat, leads_until = excluded.leads_until, report = excluded.report
 WHERE lease.beat = excluded.beat OR lease.leads_until <= clock_timestamp()
RETURNING epoch
"""
)

REPORT_STANDBY = text(
    """
INSERT INTO beat_lease AS lease (beat, epoch, leads_until, report)
VALUES (:beat, 0, clock_timestamp(), CAST(CAST(:report AS text) AS jsonb))
    ON CONFLICT (id) DO UPDATE SET report = excluded.report WHERE lease.leads_until <= clock_timestamp()
"""
)

RELEASE = text(
    """
WITH ended AS (
  UPDATE beat_lease SET leads_until = clock_timestamp() WHERE beat = :beat AND epoch = :epoch RETURNING 1
)
SELECT pg_notify(CAST(:channel AS text), '') FROM ended
"""
)

STATUS = text(
    """
SELECT lease.report, lease.epoch, lease.leads_until, lease.leads_until > clock_timestamp() AS leads,
       problems.invalid
  FROM (SELECT count(*) AS invalid FROM schedule_states WHERE problem IS NOT NULL) AS problems
       LEFT JOIN beat_lease AS lease ON true
"""
)

# --- claims ---

RESET_FUTURE_STATES = text(
    """
WITH ahead AS (
  SELECT task_id FROM schedule_states
   WHERE handled_until > clock_timestamp() + CAST(:tolerance AS interval)
   ORDER BY task_id
     FOR UPDATE
)
UPDATE schedule_states AS known SET handled_until = clock_timestamp()
  FROM ahead WHERE known.task_id = ahead.task_id
RETURNING known.task_id
"""
)

_LEASE = """
WITH lease AS (
  SELECT epoch FROM beat_lease
   WHERE beat = :beat AND epoch = :epoch AND leads_until > clock_timestamp()
     FOR SHARE
)"""

# A beat whose clock is ahead finds no lease: no slot is handled before its time.
_LEASE_BY_NOW = _LEASE.replace(
    "FOR SHARE",
    """AND NOT EXISTS (
           SELECT FROM unnest(CAST(:handled AS timestamptz[])) AS due (handled_until)
            WHERE due.handled_until > clock_timestamp() + CAST(:tolerance AS interval)
         )
     FOR SHARE""",
)

_RUN = """id, task_id, scheduled_for, state, requested, published_at, started_at, finished_at,
          deadline, error, worker, traceparent"""

# A slot that the same leadership has claimed already meets itself (its answer was lost), comes back,
# and is not counted again: `xmax` is 0 in rows that are new.
CLAIM = text(
    f"""{_LEASE_BY_NOW}, wanted AS (
  SELECT *, row_number() OVER (PARTITION BY task_id ORDER BY slot) AS place
    FROM unnest(CAST(:ids AS uuid[]), CAST(:task_ids AS uuid[]), CAST(:slots AS timestamptz[]), CAST(:limits AS int[]),
                CAST(:waits_when_full AS boolean[]))
         AS wanted (id, task_id, slot, most, waits_when_full)
), going_on AS (
  SELECT task_id, count(*) AS number
    FROM task_runs
   WHERE state IN ({_ACTIVE_STATES})
     AND (deadline IS NULL OR deadline >= clock_timestamp())
     AND task_id IN (SELECT task_id FROM wanted WHERE most IS NOT NULL)
     AND NOT id = ANY(CAST(:ids AS uuid[]))
   GROUP BY task_id
), placed AS (
  SELECT id, task_id, slot, waits_when_full, most IS NULL OR place + coalesce(number, 0) <= most AS has_room
    FROM wanted LEFT JOIN going_on USING (task_id)
), owed AS (
  SELECT id, task_id, slot FROM placed
   WHERE waits_when_full AND NOT has_room AND NOT EXISTS (SELECT FROM task_runs WHERE task_runs.id = placed.id)
), claimed AS (
  INSERT INTO task_runs AS run (id, task_id, scheduled_for, state, epoch)
  SELECT id, task_id, slot, CASE WHEN has_room THEN 'claimed' ELSE 'skipped' END, epoch
    FROM lease CROSS JOIN placed
   WHERE NOT waits_when_full OR has_room OR id NOT IN (SELECT id FROM owed)
   ORDER BY id
      ON CONFLICT (id) DO UPDATE SET epoch = run.epoch
   WHERE run.state = 'claimed' AND run.epoch = excluded.epoch
  RETURNING {_RUN}, xmax = 0 AS is_new
), handled AS (
  INSERT INTO schedule_states AS known (task_id, handled_until, runs)
  SELECT due.task_id, least(due.handled_until, first_owed.slot - interval '1 microsecond'), coalesce(number, 0)
    FROM lease
         CROSS JOIN unnest(CAST(:due_ids AS uuid[]), CAST(:handled AS timestamptz[])) AS due (task_id, handled_until)
         LEFT JOIN (SELECT task_id, count(*) AS number FROM claimed WHERE is_new AND state = 'claimed' GROUP BY task_id)
                   AS counted USING (task_id)
         LEFT JOIN (SELECT task_id, min(slot) AS slot FROM owed GROUP BY task_id) AS first_owed USING (task_id)
   ORDER BY task_id
      ON CONFLICT (task_id) DO UPDATE
     SET handled_until = greatest(known.handled_until, excluded.handled_until),
         runs = known.runs + excluded.runs
)
SELECT claimed.* FROM lease LEFT JOIN claimed ON claimed.state = 'claimed' ORDER BY scheduled_for
"""  # noqa: S608 - names of columns
)

CLAIM_REQUESTED = text(
    f"""{_LEASE}, wanted AS (
  SELECT id FROM task_runs
   WHERE state IN ('requested', 'claimed')
     AND id IN (SELECT id FROM task_runs
                 WHERE state = 'requested' OR (state = 'claimed' AND requested AND epoch = :epoch)
                 ORDER BY scheduled_for LIMIT :limit)
   ORDER BY id
     FOR UPDATE
), claimed AS (
  UPDATE task_runs SET state = 'claimed', epoch = lease.epoch
    FROM lease WHERE id IN (SELECT id FROM wanted)
  RETURNING {_RUN}
)
SELECT claimed.* FROM lease LEFT JOIN claimed ON true ORDER BY scheduled_for
"""  # noqa: S608 - names of columns
)

CLAIM_ABANDONED = text(
    f"""{_LEASE}, wanted AS (
  SELECT id FROM task_runs WHERE state = 'claimed' ORDER BY id FOR UPDATE
), claimed AS (
  UPDATE task_runs SET epoch = lease.epoch FROM lease WHERE id IN (SELECT id FROM wanted)
  RETURNING {_RUN}
)
SELECT claimed.* FROM lease LEFT JOIN claimed ON true ORDER BY scheduled_for
"""  # noqa: S608 - names of columns
)

# --- what people look at ---

# One step of an index for each task, however long its history is.
LAST_RUNS = text(
    f"""
SELECT last_run.*
  FROM unnest(CAST(:ids AS uuid[])) AS wanted (task)
       CROSS JOIN LATERAL (SELECT {_RUN} FROM task_runs WHERE task_id = wanted.task
                            ORDER BY scheduled_for DESC, id DESC LIMIT 1) AS last_run
"""  # noqa: S608 - names of columns
)

# --- what became of claims ---

_NOTED = """
WITH there AS (
  SELECT id FROM task_runs WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE
)"""

RECORD_PUBLISHED = text(
    f"""{_NOTED}
UPDATE task_runs AS run
   SET published_at = coalesce(run.published_at, recorded.at),
       deadline = CASE run.state WHEN 'claimed' THEN recorded.deadline ELSE run.deadline END,
       state = CASE run.state WHEN 'claimed' THEN 'published' ELSE run.state END
  FROM unnest(CAST(:ids AS uuid[]), CAST(:ats AS timestamptz[]), CAST(:deadlines AS timestamptz[]))
       AS recorded (id, at, deadline)
       JOIN there USING (id)
 WHERE run.id = recorded.id
"""  # noqa: S608 - a statement of ours
)

_ENDED = """
  FROM (SELECT DISTINCT ON (id) id, at, error
          FROM unnest(CAST(:ids AS uuid[]), CAST(:ats AS timestamptz[]), CAST(:errors AS text[]))
               WITH ORDINALITY AS each (id, at, error, number)
         ORDER BY id, error IS NOT NULL, number) AS recorded
       JOIN there USING (id)
 WHERE run.id = recorded.id
"""

RECORD_FAILED = text(
    f"""{_NOTED}
UPDATE task_runs AS run SET state = 'failed', finished_at = recorded.at, error = coalesce(recorded.error, '')
{_ENDED} AND run.state = 'claimed'
"""  # noqa: S608 - a statement of ours
)

RECORD_FINISHED = text(
    f"""{_NOTED}
UPDATE task_runs AS run
   SET state = CASE WHEN recorded.error IS NULL THEN 'succeeded' ELSE 'failed' END,
       finished_at = recorded.at, error = coalesce(recorded.error, '')
{_ENDED} AND (run.finished_at IS NULL OR (run.state = 'failed' AND recorded.error IS NULL))
"""  # noqa: S608 - a statement of ours
)

# A worker may have begun and recorded them; but only a beat counts, so what has no epoch was not counted.
RECORD_UNCLAIMED = text(
    """
WITH wanted AS (
  SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:task_ids AS uuid[]), CAST(:slots AS timestamptz[]))
           AS wanted (id, task_id, slot)
), recorded AS (
  INSERT INTO task_runs AS run (id, task_id, scheduled_for, state, epoch)
  SELECT id, task_id, slot, 'claimed', 0 FROM wanted ORDER BY id
      ON CONFLICT (id) DO UPDATE SET epoch = 0 WHERE run.epoch IS NULL
  RETURNING task_id
), counted AS (
  SELECT task_id, count(*) AS number FROM recorded GROUP BY task_id
)
INSERT INTO schedule_states AS known (task_id, handled_until, runs)
SELECT due.task_id, least(due.handled_until, clock_timestamp()), coalesce(counted.number, 0)
  FROM unnest(CAST(:due_ids AS uuid[]), CAST(:handled AS timestamptz[])) AS due (task_id, handled_until)
       LEFT JOIN counted USING (task_id)
 ORDER BY task_id
    ON CONFLICT (task_id) DO UPDATE
   SET handled_until = greatest(known.handled_until, excluded.handled_until), runs = known.runs + excluded.runs
"""
)
