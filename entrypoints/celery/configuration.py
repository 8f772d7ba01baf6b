"""Celery's configuration, made of the settings of Portico."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery.schedules import crontab

from application.settings import Settings
from entrypoints.celery.connections import TIME_LIMIT, broker, results

OWN_TASKS = "entrypoints.celery.tasks"

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
    "portico.purge_rooms": {
        "task": "portico.purge_rooms",
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
        **broker(settings.broker_url),
        **results(settings.result_url),
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
