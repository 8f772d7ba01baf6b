"""The only way to commit a change of access."""

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
    """Commit a change of access, so that every process applies it from the next request on.

    Every change of roles, of role assignments and of a user's status commits here. A crash between two steps
    leaves the users dirty until the mark expires: their requests are slower, but never use old access.
    """

    versions: AccessVersions
    ids: IdGenerator

    async def __call__(
        self, uow: UnitOfWork, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> None:
        """Commit `uow`, which changed the access of these users or of everyone; on `Unavailable` nothing changed."""
        change = Change(id=self.ids.new(), user_ids=tuple(user_ids), everyone=everyone)
        await self.versions.mark_dirty(change)
        # If the commit raises it may still happen, so the mark is left to expire.
        await uow.commit()
        await asyncio.shield(self._clear_dirty(change))

    async def _clear_dirty(self, change: Change) -> None:
        with suppress(Unavailable):  # the change is committed, and its mark expires
            await self.versions.clear_dirty(change)
