"""Updates from the event loop to the main thread, delivered in order."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from application.ports.leader_lease import Leadership
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run


@dataclass(frozen=True, slots=True)
class Loaded:
    """All definitions, when the store has answered for the first time."""

    tasks: Sequence[PeriodicTask | UnreadableTask]


@dataclass(frozen=True, slots=True)
class Changed:
    """Definitions were created, changed or deleted."""

    tasks: Sequence[PeriodicTask | UnreadableTask]
    deleted: Collection[PeriodicTaskId] = ()


@dataclass(frozen=True, slots=True)
class LeadershipGained:
    """The beat leads now; these are all schedule states."""

    leadership: Leadership
    schedule_states: Mapping[PeriodicTaskId, ScheduleState]


@dataclass(frozen=True, slots=True)
class LeadershipLost:
    """Another beat may lead: it publishes what was claimed and is not published."""


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that is to be published."""

    run: Run
    handled_until: datetime | None = None
    """The state of its task afterwards, if the store is away and does not know the run."""


@dataclass(frozen=True, slots=True)
class RunsClaimed:
    """Runs to publish. For some tasks there may be fewer runs than slots."""

    claimed: Sequence[ClaimedRun]
    refused: Mapping[PeriodicTaskId, int] = field(default_factory=dict[PeriodicTaskId, int])
    resumed: Mapping[PeriodicTaskId, ScheduleState | None] = field(
        default_factory=dict[PeriodicTaskId, ScheduleState | None]
    )
    """The tasks that wait when full, with their state if some slots were not claimed."""


Update: TypeAlias = Loaded | Changed | LeadershipGained | LeadershipLost | RunsClaimed
