"""Changes of access in thousands of orders of steps, with losses, deaths and late answers; why each step is there."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest

from application.ports.access import Change, Standing
from application.ports.unit_of_work import UnitOfWork
from application.use_cases.access import ChangeAccess
from domain.identity import UserId
from domain.sessions import SessionId
from tests.fakes.schedule import ForgetfulVersions, Processes


async def run(
    schedules: int,
    versions: type[ForgetfulVersions] = ForgetfulVersions,
    change: type[ChangeAccess] = ChangeAccess,
) -> None:
    for seed in range(schedules):
        await Processes(seed, versions, change).run()


async def test_in_no_order_of_steps_does_anybody_see_anything_but_what_is_committed() -> None:
    """With losses, deaths and late answers anywhere: see `tests.fakes.schedule`."""
    await run(2000)


class ForgetsToUnsettle(ForgetfulVersions):
    async def begin(self, change: Change) -> None:
        self._move(change)

    async def hold(self, change: Change) -> None:
        pass


class ForgetsToMove(ForgetfulVersions):
    async def begin(self, change: Change) -> None:
        self._mark(change)


class HoldsAnything(ForgetfulVersions):
    async def hold(self, change: Change) -> None:
        self._mark(change)


class DoesNotMoveAfterALoss(ForgetfulVersions):
    def notice_loss(self) -> None:
        self._mark(Change(id=UUID(int=next(self._numbers)), everyone=True))


class SettlesAfterALoss(ForgetfulVersions):
    def notice_loss(self) -> None:
        self._move(Change(id=UUID(int=0), everyone=True))


class SaysSettled(ForgetfulVersions):
    async def look(self, user_id: UserId, session_id: SessionId) -> Standing:
        return replace(await super().look(user_id, session_id), settled=True)


class FinishesAnything(ChangeAccess):
    """Even a commit that was not heard of."""

    @asynccontextmanager
    async def __call__(
        self, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> AsyncIterator[UnitOfWork]:
        change = Change(id=self.ids.new(), user_ids=tuple(user_ids), everyone=everyone)
        await self.versions.begin(change)
        try:
            async with self.uow() as uow:
                yield uow
                await self.versions.hold(change)
                await uow.commit()
        finally:
            await asyncio.shield(self._finish(change))


@pytest.mark.parametrize(
    ("versions", "change"),
    [
        (ForgetsToUnsettle, ChangeAccess),
        (ForgetsToMove, ChangeAccess),
        (HoldsAnything, ChangeAccess),
        (DoesNotMoveAfterALoss, ChangeAccess),
        (SettlesAfterALoss, ChangeAccess),
        (SaysSettled, ChangeAccess),
        (ForgetfulVersions, FinishesAnything),
    ],
)
async def test_every_part_of_the_protocol_is_needed(
    versions: type[ForgetfulVersions], change: type[ChangeAccess]
) -> None:
    """Without it, some order of steps shows somebody what was taken away."""
    with pytest.raises(AssertionError, match="GET:/"):
        await run(20_000, versions, change)
