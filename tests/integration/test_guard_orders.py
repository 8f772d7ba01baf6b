"""Changes of access in thousands of orders of steps, with losses, deaths and late answers; why each step is there."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

import pytest

from application.ports.access_versions import AccessSnapshot, Change
from application.ports.unit_of_work import UnitOfWork
from application.use_cases.access.change import CommitAccessChange
from domain.identity import UserId
from domain.sessions import SessionId
from tests.support.interleaving import ForgetfulVersions, Processes


async def run(
    schedules: int,
    versions: type[ForgetfulVersions] = ForgetfulVersions,
    commit: type[CommitAccessChange] = CommitAccessChange,
) -> None:
    for seed in range(schedules):
        await Processes(seed, versions, commit).run()


async def test_in_every_order_of_steps_readers_see_only_committed_changes() -> None:
    """With losses, deaths and late answers anywhere: see `tests.support.interleaving`."""
    await run(2000)


class ForgetsToMarkDirty(ForgetfulVersions):
    async def mark_dirty(self, change: Change) -> None:
        self._move(change)


class ForgetsToMove(ForgetfulVersions):
    async def mark_dirty(self, change: Change) -> None:
        self._mark(change)


class DoesNotMoveAfterALoss(ForgetfulVersions):
    def notice_loss(self) -> None:
        self._mark(Change(id=UUID(int=next(self._numbers)), everyone=True))


class StableAfterALoss(ForgetfulVersions):
    def notice_loss(self) -> None:
        self._move(Change(id=UUID(int=0), everyone=True))


class AlwaysStable(ForgetfulVersions):
    async def fetch(self, user_id: UserId, session_id: SessionId) -> AccessSnapshot:
        return replace(await super().fetch(user_id, session_id), stable=True)


class FinishesAnything(CommitAccessChange):
    """Even a commit that was not heard of."""

    async def __call__(
        self, uow: UnitOfWork, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> None:
        change = Change(id=self.ids.new(), user_ids=tuple(user_ids), everyone=everyone)
        await self.versions.mark_dirty(change)
        try:
            await uow.commit()
        finally:
            await asyncio.shield(self._clear_dirty(change))


class BeginsAfterwards(CommitAccessChange):
    async def __call__(
        self, uow: UnitOfWork, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> None:
        change = Change(id=self.ids.new(), user_ids=tuple(user_ids), everyone=everyone)
        await uow.commit()
        await self.versions.mark_dirty(change)
        await asyncio.shield(self._clear_dirty(change))


@pytest.mark.parametrize(
    ("versions", "commit"),
    [
        (ForgetsToMarkDirty, CommitAccessChange),
        (ForgetsToMove, CommitAccessChange),
        (DoesNotMoveAfterALoss, CommitAccessChange),
        (StableAfterALoss, CommitAccessChange),
        (AlwaysStable, CommitAccessChange),
        (ForgetfulVersions, FinishesAnything),
        (ForgetfulVersions, BeginsAfterwards),
    ],
)
async def test_every_part_of_the_protocol_is_needed(
    versions: type[ForgetfulVersions], commit: type[CommitAccessChange]
) -> None:
    """Without it, some order of steps shows somebody what was taken away."""
    with pytest.raises(AssertionError, match="GET:/"):
        await run(20_000, versions, commit)
