"""The tasks that can be scheduled, and the state of the scheduler."""

from collections.abc import Sequence

from application.use_cases.scheduling.registered_tasks import ListTasks
from application.use_cases.scheduling.scheduler import GetSchedulerStatus
from entrypoints.http.envelope import Envelope
from entrypoints.http.router import Router
from entrypoints.http.scheduling.bodies import RegisteredTaskBody, SchedulerBody
from entrypoints.http.security import GuardedRoute
from entrypoints.wiring import UseCase

router = Router()


@router.get("/tasks", dependencies=[GuardedRoute])
async def list_tasks(list_tasks: UseCase[ListTasks]) -> Envelope[Sequence[RegisteredTaskBody]]:
    """List the tasks that workers offer, or offered in the last week. Workers register their tasks when they start."""
    return Envelope(
        data=[
            RegisteredTaskBody.present(each.task, is_offered=each.is_offered)
            for each in await list_tasks()
        ]
    )


@router.get("/scheduler", dependencies=[GuardedRoute])
async def get_scheduler(get_status: UseCase[GetSchedulerStatus]) -> Envelope[SchedulerBody]:
    """Get the leading beat and the state of the scheduler."""
    return Envelope(data=SchedulerBody.of(await get_status()))
