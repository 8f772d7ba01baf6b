"""The bodies of responses about periodic tasks."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Self
from uuid import UUID

from pydantic import BeforeValidator, Field

from application.ports.leader_lease import SchedulerStatus
from application.ports.periodic_tasks import ScheduledTask
from domain.scheduling.periodic_tasks import UnreadableTask
from domain.scheduling.registered_tasks import ParameterKind
from domain.scheduling.task_runs import RunState
from domain.scheduling.zones import zone_rules_version
from entrypoints.http.envelope import ApiModel
from entrypoints.http.scheduling.definitions import DefinitionFields, presented

Seconds = Annotated[
    float, BeforeValidator(lambda d: d.total_seconds() if isinstance(d, timedelta) else d)
]


class RunBody(ApiModel):
    """A run of a periodic task."""

    id: UUID = Field(
        description="The id of the run and of its Celery message.",
        examples=["7d444840-9dc0-51d1-b245-5ffdce74fad2"],
    )
    task_id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b26"])
    scheduled_for: datetime = Field(
        description="The slot of the run, or the time of the request.",
        examples=["2026-01-01T00:00:00Z"],
    )
    requested: bool = Field(
        description="True if a user requested the run, false if the schedule did.", examples=[False]
    )
    state: RunState = Field(examples=["succeeded"])
    published_at: datetime | None = Field(examples=["2026-01-01T00:00:00.012Z"])
    started_at: datetime | None = Field(examples=["2026-01-01T00:00:00.015Z"])
    finished_at: datetime | None = Field(examples=["2026-01-01T00:00:00.090Z"])
    lateness: Seconds | None = Field(
        description="Seconds from the slot to the publication.", examples=[0.012]
    )
    error: str = Field(description="The error of the task; empty if there was none.", examples=[""])
    worker: str = Field(
        description="The worker that started the run; empty before the start.",
        examples=["celery@a"],
    )


class PeriodicTaskBody(DefinitionFields):
    """A periodic task, and its schedule state."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b26"])
    enabled_at: datetime = Field(
        description="Slots before this time are not scheduled: the task did not exist or was paused.",
        examples=["2026-01-01T00:00:00Z"],
    )
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    updated_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    runs: int = Field(description="How many runs the schedule has caused.", examples=[7])
    next_run_at: datetime | None = Field(
        description="The next slot; null if the task is paused, has ended, or is invalid.",
        examples=["2026-01-01T00:15:00Z"],
    )
    last_slot: datetime | None = Field(
        description="The latest slot that ran or was skipped; null before the first.",
        examples=["2026-01-01T00:00:00Z"],
    )
    last_run: RunBody | None = Field(
        description="The newest run in any state; null before the first."
    )
    problem: str | None = Field(
        description="Why the stored definition is invalid (changed outside this API). The task does not run.",
        examples=["schedule.minute must not be empty (part 2 of 3)"],
    )

    @classmethod
    def of(cls, seen: ScheduledTask) -> Self:
        """Present a task."""
        task, schedule_state = seen.task, seen.schedule_state
        return cls.present(
            task,
            **presented(task),
            runs=schedule_state.runs,
            next_run_at=seen.next_run_at,
            last_slot=seen.last_slot,
            last_run=None if seen.last_run is None else RunBody.present(seen.last_run),
            problem=task.reason if isinstance(task, UnreadableTask) else None,
        )


class RunOfTaskBody(RunBody):
    """A run with the name of its task."""

    task_name: str | None = Field(
        description="The name of the periodic task; null if the task comes from the configuration.",
        examples=["Tidy up"],
    )


class SlotsBody(ApiModel):
    """The next slots of a task."""

    runs: Sequence[datetime] = Field(
        description="In order of time. There may be fewer than `count`.",
        examples=[["2026-11-01T05:00:00Z", "2026-11-01T05:15:00Z", "2026-11-01T05:30:00Z"]],
    )


class ParameterBody(ApiModel):
    """A parameter of a task."""

    name: str = Field(examples=["customer_id"])
    kind: ParameterKind = Field(examples=["positional_or_keyword"])
    required: bool = Field(examples=[True])
    annotation: str = Field(
        description="The annotation in the code; empty if there is none.", examples=["int"]
    )


class RegisteredTaskBody(ApiModel):
    """A task that can be scheduled."""

    name: str = Field(examples=["portico.prune_runs"])
    description: str = Field(examples=["Remove runs that are older than PORTICO_RUNS_RETENTION."])
    parameters: Sequence[ParameterBody]
    accepts_anything: bool = Field(
        description="True if the parameters are unknown; then arguments are not checked.",
        examples=[False],
    )
    is_offered: bool = Field(
        description="Whether a live worker offers the task. If not, no worker would run it.",
        examples=[True],
    )


class PublishingProblemBody(ApiModel):
    """Why publishing fails."""

    since: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    error: str = Field(examples=["Error 111 connecting to broker:6379. Connection refused."])


class SchedulerBody(ApiModel):
    """The leading beat and the state of the scheduler."""

    leader: str | None = Field(
        description="Host and process of the leader. Without a leader: of the last leader, or the beat that reported "
        "`problem`. Null before the first leader.",
        examples=["beat-1:4711"],
    )
    problem: str | None = Field(
        description="Why no beat leads, if a beat reported a reason: it hangs, or its clock is wrong.",
        examples=["its clock is 0:10:00 ahead of that of the database"],
    )
    publishing: PublishingProblemBody | None = Field(
        description="Why publishing fails and since when; null if it works.",
        examples=[None],
    )
    is_leading: bool = Field(
        description="Whether the lease of the leader is valid. Without a valid lease nothing is published.",
        examples=[True],
    )
    leads_until: datetime | None = Field(
        description="The end of the lease, unless the leader renews it.",
        examples=["2026-01-01T00:00:15Z"],
    )
    epoch: int = Field(description="How often the leader has changed.", examples=[3])
    next_run_at: datetime | None = Field(
        description="The earliest next slot of all tasks.", examples=["2026-01-01T00:00:00Z"]
    )
    lag: float = Field(
        description="Seconds from slot to publication of the latest runs.", examples=[0.012]
    )
    tasks: int = Field(description="How many tasks the leader schedules.", examples=[42])
    unpublished: int = Field(
        description="Claimed runs that the broker has not accepted yet.", examples=[0]
    )
    invalid: int = Field(description="How many stored definitions are invalid.", examples=[0])
    time_zones: str = Field(
        description="The version of the time zone database of the leader; empty if it is unknown.",
        examples=["2026.6"],
    )
    api_time_zones: str = Field(
        description="The version of the time zone database of this API, used for previews. Both should be equal.",
        examples=["2026.6"],
    )

    @classmethod
    def of(cls, status: SchedulerStatus) -> Self:
        """Present the status."""
        report, publishing = status.report, status.publishing_problem
        return cls(
            leader=report.name if report else None,
            problem=report.problem if report else None,
            publishing=PublishingProblemBody.present(publishing) if publishing else None,
            is_leading=status.leads,
            leads_until=status.leads_until,
            epoch=status.epoch,
            next_run_at=report.next_slot if report else None,
            lag=report.lag.total_seconds() if report else 0.0,
            tasks=report.tasks if report else 0,
            unpublished=report.unpublished if report else 0,
            invalid=status.invalid,
            time_zones=report.time_zones if report else "",
            api_time_zones=zone_rules_version(),
        )
