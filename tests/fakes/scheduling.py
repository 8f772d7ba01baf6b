"""Schedules and periodic tasks in a valid state, of which a test names only what it is about."""

from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

from domain.scheduling.periodic_tasks import Definition, PeriodicTask
from domain.scheduling.schedules import Crontab
from domain.scheduling.slots import PeriodicTaskId
from tests.fakes.builders import A_MOMENT

_numbers = count(1)


def cron(text: str, timezone: str = "UTC") -> Crontab:
    """Return the crontab of five fields in the order of crontab(5)."""
    minute, hour, day_of_month, month_of_year, day_of_week = text.split()
    return Crontab(
        minute=minute,
        hour=hour,
        day_of_month=day_of_month,
        month_of_year=month_of_year,
        day_of_week=day_of_week,
        timezone=timezone,
    )


def a_definition(**changes: Any) -> Definition:
    """Return the definition of a task that runs each hour, but for `changes`."""
    number = next(_numbers)
    return replace(
        Definition(name=f"task {number}", task="reports.send", schedule=cron("0 * * * *")),
        **changes,
    )


def a_periodic_task(*, created_at: datetime = A_MOMENT, **changes: Any) -> PeriodicTask:
    """Return an enabled task that nobody changed since it was made, defined like `a_definition(**changes)`."""
    return PeriodicTask(
        id=PeriodicTaskId(UUID(int=next(_numbers))),
        definition=a_definition(**changes),
        enabled_at=created_at,
        created_at=created_at,
        updated_at=created_at,
    )
