"""Changes of access as other processes make them."""

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager

from application.ports.unit_of_work import UnitOfWork
from application.use_cases.access.change import CommitAccessChange
from domain.identity import UserId


@asynccontextmanager
async def changing(
    uow: Callable[[], UnitOfWork],
    commit: CommitAccessChange,
    user_ids: Collection[UserId] = (),
    *,
    everyone: bool = False,
) -> AsyncGenerator[UnitOfWork, None]:
    """Give a unit of work, and commit it at the end of the block unless that raises."""
    async with uow() as work:
        yield work
        await commit(work, user_ids, everyone=everyone)
