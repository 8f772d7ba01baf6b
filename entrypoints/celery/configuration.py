"""What Celery is told: the settings of Portico, in Celery's words."""

from collections.abc import Mapping
from datetime import timedelta
from ssl import CERT_REQUIRED
from typing import Any

from celery.schedules import crontab

from application.settings import Settings

OWN_TASKS = "entrypoints.celery.tasks"

TIME_LIMIT = timedelta(hours=1)
"""After which a process that still runs a task is killed, unless the task says otherwise."""
_CONNECT_WITHIN = timedelta(seconds=2)
_KEY_PREFIX = "portico:jobs:"
"""Broker and results may share a Redis with everything else, Redis Cluster and its one database included."""

_BEAT_SCHEDULE: Mapping[str, Any] = {
    "portico.prune_runs": {
        "task": "portico.prune_runs",
        "schedule": crontab(minute="17", hour="3"),
    },
    "portico.deliver_audit": {
        "task": "portico.deliver_audit",
        "schedule": timedelta(minutes=1),
    },
}


def configuration(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration."""
    return {
        **_connections(settings),
        "enable_utc": True,
        "timezone": "UTC",
        # Nothing but data: a message cannot run code.
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "include": [OWN_TASKS, *settings.jobs.task_modules],
        "task_default_queue": "portico",
        # No soft limit: it would contradict every shorter limit that a task or a message has of its own.
        "task_time_limit": TIME_LIMIT.total_seconds(),
        "result_expires": timedelta(days=1),
        "worker_pool": settings.jobs.pool.value,
        "worker_concurrency": settings.jobs.concurrency or "auto",
        # Log lines are ours to form, and standard output belongs to whoever started the worker.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_proc_alive_timeout": 30.0,
        "beat_scheduler": "entrypoints.celery.scheduler:DatabaseScheduler",
        "beat_schedule": dict(_BEAT_SCHEDULE),
    }


def _connections(settings: Settings) -> dict[str, Any]:
    connect_within = _CONNECT_WITHIN.total_seconds()
    return {
        "broker_url": settings.broker_url,
        "broker_use_ssl": _tls(settings.broker_url),
        "broker_connection_timeout": connect_within,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "global_keyprefix": _KEY_PREFIX,
            "socket_connect_timeout": connect_within,
            "socket_timeout": 10.0,
            "socket_keepalive": True,
            # A message that no worker has acknowledged for this long comes back: longer than tasks may run.
            "visibility_timeout": (2 * TIME_LIMIT).total_seconds(),
        }
        if _is_redis(settings.broker_url)
        else {"confirm_publish": True, "connect_timeout": connect_within},
        "task_publish_retry_policy": {
            "max_retries": 2,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        "result_backend": settings.result_url,
        "redis_backend_use_ssl": _tls(settings.result_url),
        "redis_socket_connect_timeout": connect_within,
        "redis_socket_timeout": 10.0,
        "redis_socket_keepalive": True,
        "result_backend_transport_options": {"global_keyprefix": _KEY_PREFIX},
    }


def _is_redis(url: str | None) -> bool:
    return url is None or url.startswith("redis")


def _tls(url: str | None) -> dict[str, Any] | None:
    """Return how the server is identified; what a `rediss://` or `amqps://` address says itself comes on top."""
    if url is None or not url.startswith(("rediss://", "amqps://")):
        return None
    name = "ssl_cert_reqs" if url.startswith("rediss://") else "cert_reqs"
    return {name: CERT_REQUIRED}
