"""What answers about periodic tasks look like."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from application.ports.registered_tasks import OfferedTask
from application.ports.scheduling import SchedulerStatus
from application.use_cases.scheduling.periodic_tasks import PeriodicTaskView
from application.use_cases.scheduling.task_runs import RunOfTask
from domain.scheduling.periodic_tasks import UnreadableTask
from domain.scheduling.registered_tasks import Parameter, ParameterKind
from domain.scheduling.task_runs import Run, RunState
from domain.scheduling.zones import zone_rules_version
from entrypoints.http.envelope import ApiModel
from entrypoints.http.scheduling.definitions import DefinitionFields, presented


class RunBody(ApiModel):
    """A run of a periodic task."""

    id: UUID = Field(
        description="Also the id of its Celery message.",
        examples=["7d444840-9dc0-51d1-b245-5ffdce74fad2"],
    )
    task_id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b26"])
    scheduled_for: datetime = Field(
        description="Its slot, or when it was asked for.", examples=["2026-01-01T00:00:00Z"]
    )
    requested: bool = Field(
        description="Whether somebody asked for it, rather than the schedule.", examples=[False]
    )
    state: RunState = Field(examples=["succeeded"])
    published_at: datetime | None = Field(examples=["2026-01-01T00:00:00.012Z"])
    started_at: datetime | None = Field(examples=["2026-01-01T00:00:00.015Z"])
    finished_at: datetime | None = Field(examples=["2026-01-01T00:00:00.090Z"])
    lateness: float | None = Field(
        description="How many seconds after its slot it was published.", examples=[0.012]
    )
    error: str = Field(description="What the task raised; empty if nothing.", examples=[""])
    worker: str = Field(description="Who began it; empty if nobody did yet.", examples=["celery@a"])

    @classmethod
    def of(cls, run: Run) -> Self:
        """Present a run."""
        return cls(
            id=run.id,
            task_id=run.task_id,
            scheduled_for=run.scheduled_for,
            requested=run.requested,
            state=run.state,
            published_at=run.published_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            lateness=None if run.lateness is None else run.lateness.total_seconds(),
            error=run.error,
            worker=run.worker,
        )


class PeriodicTaskBody(DefinitionFields):
    """A periodic task, and its schedule state."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b26"])
    enabled_at: datetime = Field(
        description="Slots up to here were never owed.", examples=["2026-01-01T00:00:00Z"]
    )
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    updated_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    runs: int = Field(description="How many runs its schedule has brought.", examples=[7])
    next_run_at: datetime | None = Field(
        description="The next slot; null if it is paused, over, or cannot be read.",
        examples=["2026-01-01T00:15:00Z"],
    )
    last_slot: datetime | None = Field(
        description="The latest slot that has run or was given up; null before the first.",
        examples=["2026-01-01T00:00:00Z"],
    )
    last_run: RunBody | None = Field(
        description="The newest run of its history, whatever became of it; null before the first."
    )
    problem: str | None = Field(
        description="Why it cannot be read, if it was written past this API; then it does not run.",
        examples=["schedule.minute must not be empty (part 2 of 3)"],
    )

    @classmethod
    def of(cls, seen: PeriodicTaskView) -> Self:
        """Present a task."""
        task, schedule_state = seen.scheduled.task, seen.scheduled.schedule_state
        return cls(
            **presented(task),
            id=task.id,
            enabled_at=task.enabled_at,
            created_at=task.created_at,
            updated_at=task.updated_at,
            runs=schedule_state.runs,
            next_run_at=seen.next_run_at,
            last_slot=seen.last_slot,
            last_run=None if seen.last_run is None else RunBody.of(seen.last_run),
            problem=task.reason if isinstance(task, UnreadableTask) else None,
        )


class RunOfTaskBody(RunBody):
    """A run, in a list of the runs of all tasks."""

    task_name: str | None = Field(
        description="What its periodic task is called; null if that is one of the configuration.",
        examples=["Tidy up"],
    )

    @classmethod
    def of_task(cls, found: RunOfTask) -> Self:
        """Present a run and whose it is."""
        return cls(**dict(RunBody.of(found.run)), task_name=found.task_name)


class SlotsBody(ApiModel):
    """When a task runs next."""

    runs: Sequence[datetime] = Field(
        description="In order; fewer than asked for if there are no more.",
        examples=[["2026-11-01T05:00:00Z", "2026-11-01T05:15:00Z", "2026-11-01T05:30:00Z"]],
    )


class ParameterBody(ApiModel):
    """A parameter of a task."""

    name: str = Field(examples=["customer_id"])
    kind: ParameterKind = Field(examples=["positional_or_keyword"])
    required: bool = Field(examples=[True])
    annotation: str = Field(
        description="As written in the code; empty if nothing is.", examples=["int"]
    )

    @classmethod
    def of(cls, parameter: Parameter) -> Self:
        """Present a parameter."""
        return cls(
            name=parameter.name,
            kind=parameter.kind,
            required=parameter.required,
            annotation=parameter.annotation,
        )


class RegisteredTaskBody(ApiModel):
    """A task that can be scheduled."""

    name: str = Field(examples=["portico.prune_runs"])
    description: str = Field(examples=["Remove runs that are older than PORTICO_RUNS_RETENTION."])
    parameters: Sequence[ParameterBody]
    accepts_anything: bool = Field(
        description="Whether nothing is known of its parameters.", examples=[False]
    )
    is_offered: bool = Field(
        description="Whether a worker that lives knows it; if not, none would run it.",
        examples=[True],
    )

    @classmethod
    def of(cls, offered: OfferedTask) -> Self:
        """Present a task."""
        task = offered.task
        return cls(
            is_offered=offered.is_offered,
            name=task.name,
            description=task.description,
            parameters=[ParameterBody.of(parameter) for parameter in task.parameters],
            accepts_anything=task.accepts_anything,
        )


class PublishingProblemBody(ApiModel):
    """Why no message gets out."""

    since: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    error: str = Field(examples=["Error 111 connecting to broker:6379. Connection refused."])


class SchedulerBody(ApiModel):
    """Which beat leads, and how things are."""

    leader: str | None = Field(
        description="The host and process that leads. If none does: that led last, or told a `problem` since then."
        " Null if none ever did.",
        examples=["beat-1:4711"],
    )
    problem: str | None = Field(
        description="If no beat leads: why that one does not, if it says so. It hangs, or its clock is wrong.",
        examples=["its clock is 0:10:00 ahead of that of the database"],
    )
    publishing: PublishingProblemBody | None = Field(
        description="Why the leader publishes nothing, and since when; null if it does.",
        examples=[None],
    )
    is_leading: bool = Field(
        description="Whether its lease is not over: if it is, nothing is published.",
        examples=[True],
    )
    leads_until: datetime | None = Field(
        description="The end of its lease, which it renews.", examples=["2026-01-01T00:00:15Z"]
    )
    epoch: int = Field(description="How often the leader has changed.", examples=[3])
    next_run_at: datetime | None = Field(
        description="The next slot of all tasks.", examples=["2026-01-01T00:00:00Z"]
    )
    lag: float = Field(
        description="How many seconds late the latest runs were published.", examples=[0.012]
    )
    tasks: int = Field(description="How many tasks it looks after.", examples=[42])
    unpublished: int = Field(
        description="How many runs the broker has not taken yet.", examples=[0]
    )
    invalid: int = Field(description="How many definitions cannot be read.", examples=[0])
    time_zones: str = Field(
        description="The version of the time zone database of the leader; empty if it is not known.",
        examples=["2026.6"],
    )
    api_time_zones: str = Field(
        description="That of this API, which previews are computed with: the two should be one.",
        examples=["2026.6"],
    )

    @classmethod
    def of(cls, status: SchedulerStatus) -> Self:
        """Present the status."""
        report = status.report
        publishing = report.publishing if report and status.leads else None
        return cls(
            leader=report.name if report else None,
            problem=report.problem if report else None,
            publishing=PublishingProblemBody(since=publishing.since, error=publishing.error)
            if publishing
            else None,
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
