"""What `TaskCatalogue` promises, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from application.ports.unit_of_work import UnitOfWorkFactory
from domain.scheduling.signatures import Parameter, ParameterKind, RegisteredTask

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


async def replaced(uow: UnitOfWorkFactory, *tasks: RegisteredTask) -> None:
    async with uow() as work:
        await work.task_catalogue.replace(tasks)
        await work.commit()


async def known(uow: UnitOfWorkFactory) -> Sequence[RegisteredTask]:
    async with uow() as work:
        return list(await work.task_catalogue.all())


async def test_known_tasks_are_what_was_handed_over_ordered_by_name(
    uow: UnitOfWorkFactory,
) -> None:
    await replaced(uow, SEND, LAST, ANYTHING)

    assert await known(uow) == [LAST, ANYTHING, SEND]


async def test_a_known_task_is_found_by_its_name(uow: UnitOfWorkFactory) -> None:
    await replaced(uow, SEND, ANYTHING)

    async with uow() as work:
        assert await work.task_catalogue.find("reports.send") == SEND
        assert await work.task_catalogue.find("Reports.send") is None
        assert await work.task_catalogue.find("") is None


async def test_what_is_not_handed_over_again_is_known_no_more(uow: UnitOfWorkFactory) -> None:
    await replaced(uow, SEND, ANYTHING)
    changed = replace(SEND, parameters=(), description="")

    await replaced(uow, changed, LAST)

    assert await known(uow) == [LAST, changed]


async def test_nothing_is_known_before_anything_was_handed_over(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        assert await work.task_catalogue.is_empty()
        assert await work.task_catalogue.all() == []
    await replaced(uow, SEND)
    async with uow() as work:
        assert not await work.task_catalogue.is_empty()
    await replaced(uow)
    async with uow() as work:
        assert await work.task_catalogue.is_empty()


async def test_tasks_become_known_when_the_unit_of_work_commits(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        await work.task_catalogue.replace([SEND])
        assert await known(uow) == []

    assert await known(uow) == []


async def test_many_workers_that_start_at_once_hand_over_the_same_tasks(
    uow: UnitOfWorkFactory,
) -> None:
    await asyncio.gather(*(replaced(uow, SEND, ANYTHING) for _ in range(5)))

    assert await known(uow) == [ANYTHING, SEND]
