"""What `RegisteredTaskRepository` promises, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from application.ports.unit_of_work import UnitOfWorkFactory
from domain.scheduling.registered_tasks import Parameter, ParameterKind, RegisteredTask

SEND = RegisteredTask(
    name="reports.send",
    description="Send a report.\n\n100 % „quoted“ 🚀",
    parameters=(
        Parameter(name="to", annotation="Sequence[str]"),
        Parameter(name="größe", kind=ParameterKind.KEYWORD_ONLY, required=False),
        Parameter(name="rest", kind=ParameterKind.VAR_KEYWORD, required=False),
    ),
)
ANYTHING = RegisteredTask(name="legacy", accepts_anything=True)
LAST = RegisteredTask(name="Zebra")


LIFE = timedelta(minutes=3)


async def offer(
    uow: UnitOfWorkFactory, *tasks: RegisteredTask, worker: str = "one", lasts: timedelta = LIFE
) -> None:
    async with uow() as work:
        await work.registered_tasks.offer(worker, tasks, lasts=lasts)
        await work.commit()


async def known(uow: UnitOfWorkFactory) -> Sequence[RegisteredTask]:
    async with uow() as work:
        return [each.task for each in await work.registered_tasks.all()]


async def offered(uow: UnitOfWorkFactory) -> dict[str, bool]:
    async with uow() as work:
        return {each.task.name: each.is_offered for each in await work.registered_tasks.all()}


async def found(uow: UnitOfWorkFactory, name: str) -> Sequence[RegisteredTask]:
    async with uow() as work:
        return list(await work.registered_tasks.find(name))


async def test_the_tasks_of_workers_are_listed_by_name(uow: UnitOfWorkFactory) -> None:
    await offer(uow, SEND, LAST)
    await offer(uow, SEND, ANYTHING, worker="two")

    assert await known(uow) == [LAST, ANYTHING, SEND]


async def test_a_known_task_is_found_by_its_name(uow: UnitOfWorkFactory) -> None:
    await offer(uow, SEND, ANYTHING)

    assert await found(uow, "reports.send") == [SEND]
    assert await found(uow, "Reports.send") == []
    assert await found(uow, "") == []


async def test_a_worker_that_offers_less_offers_the_rest_no_more(uow: UnitOfWorkFactory) -> None:
    changed = replace(SEND, parameters=(), description="")
    await offer(uow, SEND, ANYTHING)

    await offer(uow, changed, LAST)

    assert await known(uow) == [LAST, changed]


async def test_a_task_that_workers_know_differently_is_found_in_each_way(
    uow: UnitOfWorkFactory,
) -> None:
    new = replace(SEND, parameters=())
    await offer(uow, SEND, worker="old")
    await offer(uow, SEND, worker="old, too")
    await offer(uow, new, worker="new")

    assert await found(uow, "reports.send") == [new, SEND]
    assert await known(uow) == [new]


async def test_a_worker_that_has_ended_or_is_silent_offers_nothing(uow: UnitOfWorkFactory) -> None:
    await offer(uow, SEND, worker="ends")
    await offer(uow, LAST, worker="is silent", lasts=timedelta(0))
    await offer(uow, ANYTHING, worker="lives")
    async with uow() as work:
        await work.registered_tasks.withdraw("ends")
        await work.registered_tasks.withdraw("nobody")
        await work.commit()

    assert await offered(uow) == {"Zebra": False, "legacy": True, "reports.send": False}
    assert await found(uow, "reports.send") == await found(uow, "Zebra") == []
    await offer(uow, LAST, worker="is silent")
    assert await found(uow, "Zebra") == [LAST]


async def test_if_no_worker_lives_what_is_remembered_counts(uow: UnitOfWorkFactory) -> None:
    await offer(uow, SEND, worker="one", lasts=timedelta(0))
    await offer(uow, ANYTHING, worker="two", lasts=timedelta(days=-6))

    assert await found(uow, "legacy") == [ANYTHING]
    assert await found(uow, "reports.send") == [SEND]


async def test_after_a_week_an_offer_is_forgotten(uow: UnitOfWorkFactory) -> None:
    await offer(uow, SEND, worker="long ago", lasts=timedelta(days=-8))

    await offer(uow, ANYTHING, worker="new")

    assert await known(uow) == [ANYTHING]


async def test_nothing_is_known_before_anything_was_offered(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        assert await work.registered_tasks.is_empty()
        assert await work.registered_tasks.all() == []
    await offer(uow, SEND)
    async with uow() as work:
        assert not await work.registered_tasks.is_empty()
    await offer(uow)
    async with uow() as work:
        assert await work.registered_tasks.is_empty()


async def test_tasks_become_known_when_the_unit_of_work_commits(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        await work.registered_tasks.offer("one", [SEND], lasts=LIFE)
        assert await known(uow) == []

    assert await known(uow) == []


async def test_many_workers_that_start_at_once_offer_the_same_tasks(
    uow: UnitOfWorkFactory,
) -> None:
    await asyncio.gather(*(offer(uow, SEND, ANYTHING, worker=f"{n}") for n in range(5)))

    assert await known(uow) == [ANYTHING, SEND]
