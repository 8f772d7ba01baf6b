"""Celery's configuration, made of the settings of Portico."""

from collections.abc import Mapping
from datetime import timedelta
from ssl import CERT_NONE, CERT_REQUIRED
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from celery.schedules import crontab
from kombu.utils.url import parse_ssl_cert_reqs

from application.settings import Settings

OWN_TASKS = "entrypoints.celery.tasks"

TIME_LIMIT = timedelta(hours=1)
"""After which a process that still runs a task is killed, unless the task says otherwise."""
_CONNECT_WITHIN = timedelta(seconds=2)
_ANSWER_WITHIN = timedelta(seconds=10)
_TLS_FILES = ("ca_certs", "certfile", "keyfile")
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
    "portico.expire_uploads": {
        "task": "portico.expire_uploads",
        "schedule": timedelta(minutes=1),
    },
    "portico.purge_files": {
        "task": "portico.purge_files",
        "schedule": timedelta(minutes=1),
    },
    "portico.compare_files": {
        "task": "portico.compare_files",
        "schedule": crontab(minute="41", hour="3"),
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
        "worker_pool": settings.jobs.worker_pool.value,
        "worker_concurrency": settings.jobs.worker_concurrency or "auto",
        # Portico formats log lines, and tasks may write to standard output.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_proc_alive_timeout": 30.0,
        "worker_consumer": "entrypoints.celery.recording:RecordingConsumer",
        "beat_scheduler": "entrypoints.celery.scheduler:DatabaseScheduler",
        "beat_schedule": dict(_BEAT_SCHEDULE),
    }


def _connections(settings: Settings) -> dict[str, Any]:
    connect_within = _CONNECT_WITHIN.total_seconds()
    broker_url, broker_tls = _broker(settings.broker_url)
    return {
        "broker_url": broker_url,
        "broker_use_ssl": broker_tls,
        "broker_connection_timeout": connect_within,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "global_keyprefix": _KEY_PREFIX,
            "socket_connect_timeout": connect_within,
            "socket_timeout": _ANSWER_WITHIN.total_seconds(),
            "socket_keepalive": True,
            # A message that no worker has acknowledged for this long comes back: longer than tasks may run.
            "visibility_timeout": (2 * TIME_LIMIT).total_seconds(),
        }
        if _is_redis(settings.broker_url)
        else {
            # No message is taken for sent before the broker has it (on disk, if the queue is durable).
            "confirm_publish": True,
            "connect_timeout": connect_within,
            "write_timeout": _ANSWER_WITHIN.total_seconds(),
            "answer_within": _ANSWER_WITHIN.total_seconds(),
        },
        "task_publish_retry_policy": {
            "max_retries": 2,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        "result_backend": settings.result_url,
        "redis_backend_use_ssl": _redis_tls(settings.result_url),
        "redis_socket_connect_timeout": connect_within,
        "redis_socket_timeout": _ANSWER_WITHIN.total_seconds(),
        "redis_socket_keepalive": True,
        "result_backend_transport_options": {"global_keyprefix": _KEY_PREFIX},
    }


def _is_redis(url: str | None) -> bool:
    return url is None or url.startswith("redis")


def _redis_tls(url: str | None) -> dict[str, Any] | None:
    """Return how the server is identified; what the address says itself comes on top."""
    is_encrypted = url is not None and url.startswith("rediss://")
    return {"ssl_cert_reqs": CERT_REQUIRED} if is_encrypted else None


def _broker(url: str | None) -> tuple[str | None, dict[str, Any] | None]:
    """Return the address of the broker, and how it is identified.

    The TLS options of an `amqps://` address are taken out of it: Kombu would hand it to `amqp` under the names that
    Redis has for it, and instead of the rest.
    """
    if url is None or not url.startswith("amqps://"):
        return url, _redis_tls(url)
    address = urlsplit(url)
    said = dict(parse_qsl(address.query))
    tls: dict[str, Any] = {"cert_reqs": parse_ssl_cert_reqs(said.pop("ssl_cert_reqs", "required"))}
    is_name_checked = said.pop("ssl_check_hostname", "true").lower() != "false"
    if is_name_checked and tls["cert_reqs"] is not CERT_NONE:
        # `amqp` compares the name in the certificate with this, or with nothing.
        tls["server_hostname"] = address.hostname
    tls |= {name: said.pop(f"ssl_{name}") for name in _TLS_FILES if f"ssl_{name}" in said}
    return urlunsplit(address._replace(query=urlencode(said))), tls
