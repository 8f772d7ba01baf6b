"""The one way to change what somebody may do."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from application.ports.access_versions import AccessVersions, Change
from application.ports.system import IdGenerator
from application.ports.unit_of_work import UnitOfWork
from domain.errors import Unavailable
from domain.identity import UserId


@dataclass(frozen=True, slots=True)
class CommitAccessChange:
    """Commit a change of what somebody may do, so that it is in force at the next request everywhere.

    Every writer of roles, of who has them, and of a user's status commits through here. A crash between any
    two steps leaves the users unsettled for a while: slower for them, never stale.
    """

    versions: AccessVersions
    ids: IdGenerator

    async def __call__(
        self, uow: UnitOfWork, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> None:
        """Commit `uow`, which changed what these users may do, or everyone; raise `Unavailable` and change nothing."""
        change = Change(id=self.ids.new(), user_ids=tuple(user_ids), everyone=everyone)
        await self.versions.mark_dirty(change)
        # A commit that was not heard of may still come, so then it stays under way until that is out of the question.
        await uow.commit()
        await asyncio.shield(self._clear_dirty(change))

    async def _clear_dirty(self, change: Change) -> None:
        with suppress(Unavailable):  # the change is made, and settles by itself
            await self.versions.clear_dirty(change)
