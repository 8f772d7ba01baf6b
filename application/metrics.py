"""Every metric: its name, what it tells, and its labels. docs/operations.md describes them to operators."""

from collections.abc import Generator
from contextlib import contextmanager

from application.ports.metrics import Counter, Gauge, Histogram, Metric, Metrics
from domain.errors import PorticoError

# --- requests ---

HTTP_REQUESTS = Counter(
    "portico_http_requests_total",
    "Requests that were answered.",
    ("method", "route", "status"),
)
HTTP_DURATION = Histogram(
    "portico_http_request_duration_seconds", "How long answers took.", ("method", "route")
)
HTTP_IN_PROGRESS = Gauge("portico_http_requests_in_progress", "Requests that are being answered.")
EVENT_LOOP_LAG = Histogram(
    "portico_event_loop_lag_seconds",
    "How late the event loop of a process is, asked each second.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5),
)

# --- accounts and access ---

LOG_INS = Counter("portico_logins_total", "Attempts to log in.", ("outcome",))
REFRESHES = Counter("portico_refreshes_total", "Refreshes of tokens.", ("outcome",))
GUARD_REFUSALS = Counter(
    "portico_guard_refusals_total", "Requests and events that the guard refused.", ("reason",)
)
ACCESS_READS = Counter(
    "portico_access_reads_total",
    "Where the guard found the access of a caller: process, redis or database.",
    ("source",),
)
HASH_DURATION = Histogram(
    "portico_hash_duration_seconds",
    "How long hashes and decryptions took, with the time in the queue.",
)
HASH_REJECTED = Counter(
    "portico_hash_rejected_total", "Hashes and decryptions refused because the queue was full."
)
HASH_QUEUE = Gauge("portico_hash_queue_depth", "Hashes and decryptions that run or wait.")

# --- real time ---

SOCKET_CONNECTIONS = Gauge("portico_socket_connections", "Open connections of Socket.IO.")
SOCKET_UNSENT = Gauge(
    "portico_socket_unsent_bytes", "What waits to be sent to clients of Socket.IO."
)
SOCKET_CONNECTIONS_OPENED = Counter(
    "portico_socket_connections_opened_total", "Connections that were accepted."
)
SOCKET_CONNECTIONS_ENDED = Counter(
    "portico_socket_connections_ended_total", "Connections that ended.", ("reason",)
)
SOCKET_EVENTS = Counter(
    "portico_socket_events_total",
    "Events that clients sent; `*` is all that no handler was asked for.",
    ("event", "outcome"),
)
SOCKET_EVENT_DURATION = Histogram(
    "portico_socket_event_duration_seconds", "How long events took.", ("event",)
)
SOCKET_REFUSED = Counter(
    "portico_socket_connections_refused_total", "Connections that were refused.", ("code",)
)
SOCKET_DROPPED = Counter(
    "portico_socket_connections_dropped_total", "Connections that were cut.", ("reason",)
)

# --- jobs ---

TASKS = Counter("portico_tasks_total", "Tasks that ended.", ("task", "outcome"))
TASK_DURATION = Histogram(
    "portico_task_duration_seconds",
    "How long tasks took.",
    ("task",),
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)
TASK_LAST_SUCCESS = Gauge(
    "portico_task_last_success_timestamp_seconds",
    "When a task last succeeded (Unix time).",
    ("task",),
    over_processes="max",
)
TASK_WAIT = Histogram(
    "portico_task_wait_seconds",
    "The time from a slot of a periodic task to the beginning of its run.",
    buckets=(0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)
QUEUE_LENGTH = Gauge(
    "portico_queue_length", "Messages that wait for a worker.", ("queue",), over_processes="max"
)
BEAT_LEADER = Gauge("portico_beat_leader", "1 if this beat leads, else 0.")
BEAT_LAG = Gauge(
    "portico_beat_lag_seconds",
    "How late the messages of the leading beat are.",
    over_processes="max",
)
BEAT_UNPUBLISHED = Gauge(
    "portico_beat_unpublished_runs", "Claimed runs that the broker has not taken yet."
)
BEAT_TASKS = Gauge("portico_beat_periodic_tasks", "Periodic tasks that this beat knows.")
BEAT_BROKEN = Gauge(
    "portico_beat_invalid_periodic_tasks", "Periodic tasks that cannot run; the API says why."
)

FILES_DISAGREE = Counter(
    "portico_files_disagreements_total",
    "What the daily comparison of files found: missing objects, and orphans that no file has.",
    ("kind",),
)

# --- what the process depends on ---

DEPENDENCY_UP = Gauge(
    "portico_dependency_up", "1 if a dependency answers, else 0.", ("name",), over_processes="max"
)
POOL_CONNECTIONS = Gauge(
    "portico_pool_connections", "Connections of a pool: in_use or idle.", ("pool", "state")
)
POOL_WAIT = Histogram(
    "portico_pool_wait_seconds",
    "How long a connection of a pool was waited for.",
    ("pool",),
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
OUTBOX_PENDING = Gauge(
    "portico_outbox_pending", "Audit entries that wait for delivery.", over_processes="max"
)
OUTBOX_OLDEST = Gauge(
    "portico_outbox_oldest_seconds", "How long the oldest of them has waited.", over_processes="max"
)
KEY_CREATED = Gauge(
    "portico_key_created_timestamp_seconds",
    "When the file of the active key was written (Unix time).",
    ("purpose",),
    over_processes="max",
)
BUILD = Gauge(
    "portico_build_info", "1, with the versions.", ("version", "python"), over_processes="max"
)

ALL: tuple[Metric, ...] = tuple(
    metric for metric in globals().values() if isinstance(metric, Metric)
)


@contextmanager
def counted(metrics: Metrics, counter: Counter) -> Generator[None, None, None]:
    """Count how a block ends: `ok`, the code of an error of ours, or `error`."""
    outcome = "error"
    try:
        yield
        outcome = "ok"
    except PorticoError as error:
        outcome = error.code
        raise
    finally:
        metrics.count(counter, outcome)
