"""Periodic tasks: make them, change them, see what becomes of them."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from application.ports.periodic_tasks import PeriodicTaskFilter
from application.ports.task_runs import RunFilter
from application.use_cases.scheduling.periodic_tasks import (
    MOST_AT_ONCE,
    ChangePeriodicTask,
    CreatePeriodicTask,
    DeletePeriodicTask,
    GetPeriodicTask,
    ListPeriodicTasks,
    PauseOrResumeTasks,
    ResetPeriodicTask,
)
from application.use_cases.scheduling.task_runs import (
    MOST_PREVIEWED,
    CancelRun,
    ListNextRuns,
    ListRuns,
    PreviewRuns,
    RunNow,
    SearchRuns,
)
from bootstrap import Container
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
from entrypoints.http.scheduling.bodies import (
    PeriodicTaskBody,
    RunBody,
    RunOfTaskBody,
    SlotsBody,
)
from entrypoints.http.scheduling.definitions import ChangeBody, PreviewBody, WrittenBody
from entrypoints.http.security import GuardedRoute, VerifyPermissionDep
from entrypoints.http.wiring import use_case

router = APIRouter(prefix="/periodic-tasks", tags=["scheduling"])

ListTasksDep = Annotated[ListPeriodicTasks, Depends(use_case(Container.list_periodic_tasks))]
GetTaskDep = Annotated[GetPeriodicTask, Depends(use_case(Container.get_periodic_task))]
CreateTaskDep = Annotated[CreatePeriodicTask, Depends(use_case(Container.create_periodic_task))]
ChangeTaskDep = Annotated[ChangePeriodicTask, Depends(use_case(Container.change_periodic_task))]
DeleteTaskDep = Annotated[DeletePeriodicTask, Depends(use_case(Container.delete_periodic_task))]
ResetTaskDep = Annotated[ResetPeriodicTask, Depends(use_case(Container.reset_periodic_task))]
RunNowDep = Annotated[RunNow, Depends(use_case(Container.run_now))]
ListRunsDep = Annotated[ListRuns, Depends(use_case(Container.list_runs))]
ListNextRunsDep = Annotated[ListNextRuns, Depends(use_case(Container.list_next_runs))]
PreviewRunsDep = Annotated[PreviewRuns, Depends(use_case(Container.preview_runs))]


SearchRunsDep = Annotated[SearchRuns, Depends(use_case(Container.search_runs))]
CancelRunDep = Annotated[CancelRun, Depends(use_case(Container.cancel_run))]
PauseOrResumeDep = Annotated[PauseOrResumeTasks, Depends(use_case(Container.pause_or_resume_tasks))]


class PeriodicTaskQuery(
    PageQuery[Literal["name", "-name", "createdAt", "-createdAt", "updatedAt", "-updatedAt"]]
):
    """Which periodic tasks to list; each filter narrows."""

    keyword: MayBeLeftOut[Keyword] = Field(
        default=None,
        description="A literal part of the name or the description, upper and lower case aside.",
    )
    task: MayBeLeftOut[Text] = Field(default=None, description="The name of what runs, exactly.")
    kind: MayBeLeftOut[Literal["interval", "crontab", "solar", "clocked"]] = None
    enabled: MayBeLeftOut[Flag] = Field(default=None, description="Whether they are not paused.")
    invalid: MayBeLeftOut[Flag] = Field(default=None, description="Whether they cannot be read.")

    def filter(self) -> PeriodicTaskFilter:
        """Return what the use case is asked for."""
        return PeriodicTaskFilter(
            keyword=self.keyword,
            task=self.task,
            kind=self.kind,
            enabled=self.enabled,
            invalid=self.invalid,
        )


class RunQuery(SliceQuery):
    """Which runs to list; each filter narrows."""

    state: MayBeLeftOut[RunState] = Field(
        default=None, description="What has become of them.", examples=["failed"]
    )
    task_id: MayBeLeftOut[UUID] = Field(default=None, description="Of which periodic task.")

    def filter(self) -> RunFilter:
        """Return what the use case is asked for."""
        task_id = None if self.task_id is None else PeriodicTaskId(self.task_id)
        return RunFilter(task_id=task_id, state=self.state)


class PauseBody(ApiModel):
    """Which periodic tasks to pause."""

    ids: list[UUID] = Field(
        min_length=1,
        max_length=MOST_AT_ONCE,
        description="Their ids; all of them are paused, or none if one does not exist.",
        examples=[["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b26"]],
    )


class ResumeBody(PauseBody):
    """Which periodic tasks to resume, and from when on."""

    catch_up: StrictBool = Field(
        default=False,
        description="Whether the slots of the pause count as missed: `misfire` decides about them.",
        examples=[False],
    )


class ChangedBody(ApiModel):
    """How many tasks were changed."""

    changed: int = Field(description="Those that were so already are not counted.", examples=[1])


class NextQuery(ApiModel):
    """How many runs to tell."""

    count: Number = Field(default=10, ge=1, le=MOST_PREVIEWED, description="How many.")


@router.get("", dependencies=[GuardedRoute])
async def list_periodic_tasks(
    query: Annotated[PeriodicTaskQuery, Query()], list_tasks: ListTasksDep
) -> Envelope[Page[PeriodicTaskBody]]:
    """List periodic tasks, ordered by name unless `sort` says otherwise."""
    found = await list_tasks(query.filter(), query.request())
    return Envelope(data=Page.of(found, query, PeriodicTaskBody.of))


@router.post("", status_code=201, dependencies=[GuardedRoute])
async def create_periodic_task(
    body: WrittenBody,
    caller: VerifyPermissionDep,
    create_task: CreateTaskDep,
    request: Request,
    response: Response,
) -> CreatedEnvelope[PeriodicTaskBody]:
    """Make a periodic task; the beat knows it at once."""
    made = await create_task(caller, body.written())
    locate(request, response, f"periodic-tasks/{made.task.id}")
    tag(response, made.task.updated_at)
    return CreatedEnvelope(data=PeriodicTaskBody.of(made))


@router.post("/pause", dependencies=[GuardedRoute])
async def pause_periodic_tasks(
    body: PauseBody, caller: VerifyPermissionDep, pause_or_resume: PauseOrResumeDep
) -> Envelope[ChangedBody]:
    """Pause many periodic tasks at once: all of them, or none if one does not exist."""
    changed = await pause_or_resume(caller, [*map(PeriodicTaskId, body.ids)], enabled=False)
    return Envelope(data=ChangedBody(changed=changed))


@router.post("/resume", dependencies=[GuardedRoute])
async def resume_periodic_tasks(
    body: ResumeBody, caller: VerifyPermissionDep, pause_or_resume: PauseOrResumeDep
) -> Envelope[ChangedBody]:
    """Resume many periodic tasks at once, from their next slots on: all of them, or none if one does not exist."""
    changed = await pause_or_resume(
        caller, [*map(PeriodicTaskId, body.ids)], enabled=True, catch_up=body.catch_up
    )
    return Envelope(data=ChangedBody(changed=changed))


@router.get("/runs", dependencies=[GuardedRoute])
async def list_runs_of_all_tasks(
    query: Annotated[RunQuery, Query()], search_runs: SearchRunsDep
) -> Envelope[Slice[RunOfTaskBody]]:
    """List the runs of all periodic tasks, newest first."""
    found = await search_runs(query.filter(), after=query.after(), limit=query.page_size)
    return Envelope(data=Slice.of(found, RunOfTaskBody.of_task))


@router.post("/runs/{run_id}/cancel", dependencies=[GuardedRoute])
async def cancel_run(
    run_id: UUID, caller: VerifyPermissionDep, cancel_run: CancelRunDep
) -> Envelope[RunBody]:
    """Call off a run that waits: no worker begins it any more. One that has begun is a conflict (409)."""
    return Envelope(data=RunBody.of(await cancel_run(caller, RunId(run_id))))


@router.post("/preview", dependencies=[GuardedRoute])
async def preview_runs(body: PreviewBody, preview_runs: PreviewRunsDep) -> Envelope[SlotsBody]:
    """Tell when a task would run that is not made yet."""
    return Envelope(data=SlotsBody(runs=await preview_runs(body.written())))


@router.get("/{task_id}", dependencies=[GuardedRoute])
async def get_periodic_task(
    task_id: UUID, get_task: GetTaskDep, response: Response
) -> Envelope[PeriodicTaskBody]:
    """Show a periodic task."""
    seen = await get_task(PeriodicTaskId(task_id))
    tag(response, seen.task.updated_at)
    return Envelope(data=PeriodicTaskBody.of(seen))


@router.put("/{task_id}", dependencies=[GuardedRoute])
async def replace_periodic_task(
    task_id: UUID,
    body: WrittenBody,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    change_task: ChangeTaskDep,
) -> Envelope[PeriodicTaskBody]:
    """Make a periodic task what the body says; its next slot follows the last one, not the change."""
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
    change_task: ChangeTaskDep,
) -> Envelope[PeriodicTaskBody]:
    """Change some fields (RFC 7396): `{"enabled": false}` pauses, `{"enabled": true}` resumes from the next slot on."""
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
    delete_task: DeleteTaskDep,
) -> Envelope[None]:
    """Remove a periodic task and its history. What a worker has begun goes on; a message that waits is dropped."""
    await delete_task(caller, PeriodicTaskId(task_id), expected=change.expected)
    return Envelope(data=None)


@router.post("/{task_id}/run", status_code=201, dependencies=[GuardedRoute])
async def run_periodic_task_now(
    task_id: UUID,
    caller: VerifyPermissionDep,
    run_now: RunNowDep,
    request: Request,
    response: Response,
) -> CreatedEnvelope[RunBody]:
    """Run a periodic task once, as soon as possible, paused or not; its schedule does not move."""
    locate(request, response, "runs")
    return CreatedEnvelope(data=RunBody.of(await run_now(caller, PeriodicTaskId(task_id))))


@router.post("/{task_id}/reset", dependencies=[GuardedRoute])
async def reset_periodic_task(
    task_id: UUID, caller: VerifyPermissionDep, reset_task: ResetTaskDep, response: Response
) -> Envelope[PeriodicTaskBody]:
    """Let a periodic task begin anew, as if it were made now.

    `runs` becomes 0 and `lastSlot` null, so that a task with `oneOff` or `maxRuns` that is over runs again. Slots up to
    now are not made up for. The definition, the history, and a run that is going on stay as they are.
    """
    seen = await reset_task(caller, PeriodicTaskId(task_id))
    tag(response, seen.task.updated_at)
    return Envelope(data=PeriodicTaskBody.of(seen))


@router.get("/{task_id}/next", dependencies=[GuardedRoute])
async def list_next_runs(
    task_id: UUID, query: Annotated[NextQuery, Query()], list_next_runs: ListNextRunsDep
) -> Envelope[SlotsBody]:
    """Tell when a periodic task runs next; never, if it is paused, over, or cannot be read."""
    runs = await list_next_runs(PeriodicTaskId(task_id), limit=query.count)
    return Envelope(data=SlotsBody(runs=runs))


@router.get("/{task_id}/runs", dependencies=[GuardedRoute])
async def list_runs(
    task_id: UUID, query: Annotated[SliceQuery, Query()], list_runs: ListRunsDep
) -> Envelope[Slice[RunBody]]:
    """List the runs of a periodic task, newest first."""
    found = await list_runs(PeriodicTaskId(task_id), after=query.after(), limit=query.page_size)
    return Envelope(data=Slice.of(found, RunBody.of))
