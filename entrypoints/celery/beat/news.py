"""What the event loop tells the main thread. In the order in which it was told, each is true when it is read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from application.ports.scheduling import Leadership
from domain.scheduling.runs import Run
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.tasks import PeriodicTask, ScheduleState, UnreadableTask


@dataclass(frozen=True, slots=True)
class Loaded:
    """The store has answered for the first time: these are all definitions."""

    tasks: Sequence[PeriodicTask | UnreadableTask]


@dataclass(frozen=True, slots=True)
class Changed:
    """Definitions were made, changed or removed."""

    tasks: Sequence[PeriodicTask | UnreadableTask]
    deleted: Collection[PeriodicTaskId] = ()


@dataclass(frozen=True, slots=True)
class Began:
    """Nobody else leads now; everything stands like this."""

    leadership: Leadership
    schedule_states: Mapping[PeriodicTaskId, ScheduleState]


@dataclass(frozen=True, slots=True)
class Ended:
    """Another beat leads, or may: what was granted and is not published is its business."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A run that is to be published."""

    run: Run
    handled_until: datetime | None = None
    """Where its task stands then, if the store does not know of the run because it is away."""


@dataclass(frozen=True, slots=True)
class Granted:
    """Runs are to be published, and of some turns there are fewer than were asked for."""

    grants: Sequence[Grant]
    refused: Mapping[PeriodicTaskId, int] = field(default_factory=dict[PeriodicTaskId, int])
    answered: Mapping[PeriodicTaskId, ScheduleState | None] = field(
        default_factory=dict[PeriodicTaskId, ScheduleState | None]
    )
    """The tasks whose slots run in turn, and where they stand, if that is not where they were to stand."""


News: TypeAlias = Loaded | Changed | Began | Ended | Granted
