"""The periodic tasks of the configuration (`beat_schedule`): Celery's objects read as tasks like all others."""

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from celery.schedules import crontab, schedule, solar

from application.ports.publisher import Message
from application.scheduler.schedule_queue import ConfiguredTask
from domain.errors import PorticoError
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.json_values import is_number
from domain.scheduling.options import PublishingOptions
from domain.scheduling.periodic_tasks import Definition, PeriodicTask
from domain.scheduling.schedules import (
    Clocked,
    Crontab,
    Interval,
    Period,
    Schedule,
    Solar,
    SolarEvent,
)
from domain.scheduling.slots import PeriodicTaskId
from entrypoints.celery.internals import crontab_fields

_log = logging.getLogger(__name__)

_NAMESPACE = UUID("8d4ee6a2-7f1f-4bd5-a3bd-6d0e2a3c1b57")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def configured_id(name: str) -> PeriodicTaskId:
    """Return the id under which the schedule state and the runs of a configured task are stored."""
    return PeriodicTaskId(uuid5(_NAMESPACE, name))


def read_configuration(beat_schedule: Mapping[str, Any], *, timezone: str) -> list[ConfiguredTask]:
    """Read every entry; one that cannot be read is logged and says why, and stops no other.

    Intervals count from the epoch, so that a restart moves nothing. `timezone` is that of crontabs.
    """
    return [_read(name, entry, timezone) for name, entry in beat_schedule.items()]


def _read(name: str, entry: Mapping[str, Any], timezone: str) -> ConfiguredTask:
    task_id = configured_id(name)
    try:
        message = Message(
            entry.get("args") or (), entry.get("kwargs") or {}, entry.get("options") or {}
        )
        task = PeriodicTask(
            id=task_id,
            definition=Definition(
                name=name,
                task=entry["task"],
                schedule=_schedule(entry["schedule"], timezone),
                options=_scheduling_options(message.options),
            ),
            enabled_at=_EPOCH,
            created_at=_EPOCH,
            updated_at=_EPOCH,
        )
    except (PorticoError, LookupError, TypeError, ValueError, AttributeError) as error:
        problem = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        _log.error("the configured periodic task %s cannot be run: %s", name, problem)
        return ConfiguredTask(task_id, name, problem=problem)
    return ConfiguredTask(task_id, name, task, message)


def _scheduling_options(options: Mapping[str, Any]) -> PublishingOptions:
    """Return how long a message may wait, if that is a number of seconds. All options go to Celery as they are."""
    expires = options.get("expires")
    return PublishingOptions({"expires": max(1, expires)} if is_number(expires) else {})


def _schedule(given: object, timezone: str) -> Schedule:
    """Return Celery's schedule as ours. A schedule of another class decides itself when it is due, and is refused."""
    kind = type(given)
    if getattr(given, "nowfun", None) is not None:
        raise InvalidDefinition({"schedule": "has a clock of its own (nowfun)"})
    if isinstance(given, Interval | Crontab | Solar | Clocked):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        return _interval(timedelta(seconds=given))
    if isinstance(given, timedelta):
        return _interval(given)
    if isinstance(given, schedule) and kind is schedule:
        return _interval(given.run_every)  # type: ignore[attr-defined]  # celery-types has it not
    if isinstance(given, crontab) and kind is crontab:
        fields = {name: _cron_text(numbers) for name, numbers in crontab_fields(given).items()}
        return Crontab(**fields, timezone=timezone)
    if isinstance(given, solar) and kind is solar:
        return Solar(SolarEvent(given.event), given.lat, given.lon)
    raise InvalidDefinition({"schedule": f"is of a class that is not known: {kind.__qualname__}"})


def _interval(length: timedelta) -> Interval:
    return Interval(length // timedelta(microseconds=1), Period.MICROSECONDS)


def _cron_text(numbers: str | int | Iterable[int]) -> str:
    if isinstance(numbers, str | int):
        return str(numbers)
    return ",".join(str(number) for number in sorted(numbers))
