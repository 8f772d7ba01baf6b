"""Periodic tasks and their runs."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

import bootstrap
from application.ports.periodic_tasks import PeriodicTaskFilter
from application.ports.task_runs import RunFilter
from application.use_cases.scheduling.changes import (
    MOST_AT_ONCE,
    ChangePeriodicTask,
    CreatePeriodicTask,
    DeletePeriodicTask,
    PauseOrResumeTasks,
    ResetPeriodicTask,
)
from application.use_cases.scheduling.periodic_tasks import GetPeriodicTask, ListPeriodicTasks
from application.use_cases.scheduling.task_runs import (
    MOST_PREVIEWED,
    PREVIEWED,
    CancelRun,
    ListNextRuns,
    ListRuns,
    PreviewRuns,
    RunNow,
    SearchRuns,
)
from domain.scheduling.schedules import ScheduleKind
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import RunId, RunState
from entrypoints.http.envelope import (
    ApiModel,
    CreatedEnvelope,
    Envelope,
    MayBeLeftOut,
    Text,
    locate,
)
from entrypoints.http.paging import Keyword, Page, PageQuery, Slice, SliceQuery
from entrypoints.http.preconditions import ConditionalChangeDep, tag
from entrypoints.http.query_types import Flag, Number
from entrypoints.http.router import Router
from entrypoints.http.scheduling.bodies import (
    PeriodicTaskBody,
    RunBody,
    RunOfTaskBody,
    SlotsBody,
)
from entrypoints.http.scheduling.definitions import ChangeBody, PreviewBody, WrittenBody
from entrypoints.http.security import GuardedRoute, VerifyPermissionDep
from entrypoints.wiring import UseCase

router = Router(prefix="/periodic-tasks")


class PeriodicTaskQuery(
    PageQuery[Literal["name", "-name", "createdAt", "-createdAt", "updatedAt", "-updatedAt"]]
):
    """Filters of the list; all of them must match."""

    keyword: MayBeLeftOut[Keyword] = Field(
        default=None,
        description="A part of the name or the description. Case is ignored; there are no wildcards.",
    )
    task: MayBeLeftOut[Text] = Field(default=None, description="The exact name of the Celery task.")
    kind: MayBeLeftOut[ScheduleKind] = None
    enabled: MayBeLeftOut[Flag] = Field(default=None, description="False finds paused tasks.")
    invalid: MayBeLeftOut[Flag] = Field(
        default=None, description="True finds tasks whose stored definition is invalid."
    )


class RunQuery(SliceQuery):
    """Filters of the runs; all of them must match."""

    state: MayBeLeftOut[RunState] = Field(
        default=None, description="The state of the run.", examples=["failed"]
    )
    task_id: MayBeLeftOut[UUID] = Field(default=None, description="The periodic task.")


class PauseBody(ApiModel):
    """The periodic tasks to pause."""

    ids: list[UUID] = Field(
        min_length=1,
        max_length=MOST_AT_ONCE,
        description="Their ids. If one does not exist, no task changes.",
        examples=[["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b26"]],
    )


class ResumeBody(PauseBody):
    """The periodic tasks to resume."""

    catch_up: StrictBool = Field(
        default=False,
        description="Whether the slots of the pause count as missed. Then `misfire` applies to them.",
        examples=[False],
    )


class ChangedBody(ApiModel):
    """The number of changed tasks."""

    changed: int = Field(
        description="Tasks that already were in this state are not counted.", examples=[1]
    )


class NextQuery(ApiModel):
    """The number of slots to return."""

    count: Number = Field(
        default=PREVIEWED, ge=1, le=MOST_PREVIEWED, description="How many slots to return."
    )


@router.get("", dependencies=[GuardedRoute])
async def list_periodic_tasks(
    query: Annotated[PeriodicTaskQuery, Query()], list_tasks: UseCase[ListPeriodicTasks]
) -> Envelope[Page[PeriodicTaskBody]]:
    """List periodic tasks. The default order is by name."""
    found = await list_tasks(query.argument(PeriodicTaskFilter), query.request())
    return Envelope(data=Page.of(found, query, PeriodicTaskBody.of))


@router.post("", status_code=201, dependencies=[GuardedRoute])
async def create_periodic_task(
    body: WrittenBody,
    caller: VerifyPermissionDep,
    create_task: UseCase[CreatePeriodicTask],
    request: Request,
    response: Response,
) -> CreatedEnvelope[PeriodicTaskBody]:
    """Create a periodic task. The beat schedules it at once."""
    made = await create_task(caller, body.written())
    locate(request, response, f"periodic-tasks/{made.task.id}")
    tag(response, made.task.updated_at)
    return CreatedEnvelope(data=PeriodicTaskBody.of(made))


@router.post("/pause", dependencies=[GuardedRoute])
async def pause_periodic_tasks(
    body: PauseBody, caller: VerifyPermissionDep, pause_or_resume: UseCase[PauseOrResumeTasks]
) -> Envelope[ChangedBody]:
    """Pause periodic tasks: all of them, or none if one does not exist."""
    changed = await pause_or_resume(caller, [*map(PeriodicTaskId, body.ids)], enabled=False)
    return Envelope(data=ChangedBody(changed=changed))


@router.post("/resume", dependencies=[GuardedRoute])
async def resume_periodic_tasks(
    body: ResumeBody, caller: VerifyPermissionDep, pause_or_resume: UseCase[PauseOrResumeTasks]
) -> Envelope[ChangedBody]:
    """Resume periodic tasks from their next slots: all of them, or none if one does not exist."""
    changed = await pause_or_resume(
        caller, [*map(PeriodicTaskId, body.ids)], enabled=True, catch_up=body.catch_up
    )
    return Envelope(data=ChangedBody(changed=changed))


@router.get("/runs", dependencies=[GuardedRoute])
async def list_runs_of_all_tasks(
    query: Annotated[RunQuery, Query()], search_runs: UseCase[SearchRuns]
) -> Envelope[Slice[RunOfTaskBody]]:
    """List the runs of all periodic tasks, newest first."""
    found = await search_runs(query.argument(RunFilter), after=query.after(), limit=query.page_size)
    return Envelope(
        data=Slice.of(found, lambda one: RunOfTaskBody.present(one.run, task_name=one.task_name))
    )


@router.post("/runs/{run_id}/cancel", dependencies=[GuardedRoute])
async def cancel_run(
    run_id: UUID, caller: VerifyPermissionDep, cancel_run: UseCase[CancelRun]
) -> Envelope[RunBody]:
    """Cancel a run that no worker has started. A run that has started is a conflict (409)."""
    return Envelope(data=RunBody.present(await cancel_run(caller, RunId(run_id))))


@router.post("/preview", dependencies=[GuardedRoute])
async def preview_runs(
    body: PreviewBody, preview_runs: UseCase[PreviewRuns]
) -> Envelope[SlotsBody]:
    """Preview the slots of a definition without creating a task."""
    return Envelope(data=SlotsBody(runs=await preview_runs(body.written())))


@router.get("/{task_id}", dependencies=[GuardedRoute])
async def get_periodic_task(
    task_id: UUID, get_task: UseCase[GetPeriodicTask], response: Response
) -> Envelope[PeriodicTaskBody]:
    """Get a periodic task."""
    seen = await get_task(PeriodicTaskId(task_id))
    tag(response, seen.task.updated_at)
    return Envelope(data=PeriodicTaskBody.of(seen))


@router.put("/{task_id}", dependencies=[GuardedRoute])
async def replace_periodic_task(
    task_id: UUID,
    body: WrittenBody,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    change_task: UseCase[ChangePeriodicTask],
) -> Envelope[PeriodicTaskBody]:
    """Replace a periodic task. Its next slot follows the last slot, not the time of the change."""
    seen = await change_task.replace(
        caller, PeriodicTaskId(task_id), body.written(), expected=change.expected
    )
    change.tag(seen.task.updated_at)
    return Envelope(data=PeriodicTaskBody.of(seen))


@router.patch("/{task_id}", dependencies=[GuardedRoute])
async def change_periodic_task(
    task_id: UUID,
    body: ChangeBody,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    change_task: UseCase[ChangePeriodicTask],
) -> Envelope[PeriodicTaskBody]:
    """Change some fields (RFC 7396): `{"enabled": false}` pauses, `{"enabled": true}` resumes from the next slot."""
    seen = await change_task.change(
        caller, PeriodicTaskId(task_id), body.written(), expected=change.expected
    )
    change.tag(seen.task.updated_at)
    return Envelope(data=PeriodicTaskBody.of(seen))


@router.delete("/{task_id}", dependencies=[GuardedRoute])
async def delete_periodic_task(
    task_id: UUID,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    delete_task: UseCase[DeletePeriodicTask],
) -> Envelope[None]:
    """Delete a periodic task and its history. Started runs continue; waiting messages are dropped."""
    await delete_task(caller, PeriodicTaskId(task_id), expected=change.expected)
    return Envelope(data=None)


@router.post("/{task_id}/run", status_code=201, dependencies=[GuardedRoute])
async def run_periodic_task_now(
    task_id: UUID,
    caller: VerifyPermissionDep,
    run_now: UseCase[RunNow],
    request: Request,
    response: Response,
) -> CreatedEnvelope[RunBody]:
    """Run a periodic task once, as soon as possible, even if it is paused. Its schedule does not change."""
    locate(request, response, "runs")
    trace = bootstrap.trace_headers().get("traceparent", "")
    run = await run_now(caller, PeriodicTaskId(task_id), traceparent=trace)
    return CreatedEnvelope(data=RunBody.present(run))


@router.post("/{task_id}/reset", dependencies=[GuardedRoute])
async def reset_periodic_task(
    task_id: UUID,
    caller: VerifyPermissionDep,
    reset_task: UseCase[ResetPeriodicTask],
    response: Response,
) -> Envelope[PeriodicTaskBody]:
    """Reset a periodic task, as if it were created now.

    `runs` becomes 0 and `lastSlot` null, so a task that ended because of `oneOff` or `maxRuns` runs again. Missed slots
    do not run. The definition, the history and active runs do not change.
    """
    seen = await reset_task(caller, PeriodicTaskId(task_id))
    tag(response, seen.task.updated_at)
    return Envelope(data=PeriodicTaskBody.of(seen))


@router.get("/{task_id}/next", dependencies=[GuardedRoute])
async def list_next_runs(
    task_id: UUID, query: Annotated[NextQuery, Query()], list_next_runs: UseCase[ListNextRuns]
) -> Envelope[SlotsBody]:
    """List the next slots of a periodic task: none if it is paused, has ended, or is invalid."""
    runs = await list_next_runs(PeriodicTaskId(task_id), limit=query.count)
    return Envelope(data=SlotsBody(runs=runs))


@router.get("/{task_id}/runs", dependencies=[GuardedRoute])
async def list_runs(
    task_id: UUID, query: Annotated[SliceQuery, Query()], list_runs: UseCase[ListRuns]
) -> Envelope[Slice[RunBody]]:
    """List the runs of a periodic task, newest first."""
    found = await list_runs(PeriodicTaskId(task_id), after=query.after(), limit=query.page_size)
    return Envelope(data=Slice.of(found, RunBody.present))
