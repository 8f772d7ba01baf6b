"""What has changed for callers who stay: those of open connections, which ask nothing while they listen."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from application.ports.access_versions import AccessSnapshot, AccessVersions
from application.use_cases.access.guard import Guard
from application.use_cases.caller import Caller
from domain.errors import Forbidden, Unauthenticated, Unavailable

_AT_ONCE = 8
"""Each may read from PostgreSQL, whose connections requests need too."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A caller as of their last check, and the version of their access that it saw."""

    token: str
    caller: Caller
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Recheck:
    """What became of a caller: checked anew, or refused."""

    before: Checked
    after: Checked | Unauthenticated | Forbidden


@dataclass(frozen=True, slots=True)
class RecheckCallers:
    """Find those of many callers whose access may have changed, or whose session is over.

    It costs a script for all of them together, and the guard only for those whose version moved. Call it often.
    """

    versions: AccessVersions
    guard: Guard

    async def __call__(self, callers: Sequence[Checked]) -> Sequence[Recheck]:
        """Return those whose version moved. Raise `Unavailable` if nothing is known of any of them."""
        snapshots = await self.versions.fetch_many(
            [(checked.caller.user_id, checked.caller.session_id) for checked in callers]
        )
        limit = asyncio.Semaphore(_AT_ONCE)
        found = await asyncio.gather(
            *(
                self._recheck(checked, snapshot, limit)
                for checked, snapshot in zip(callers, snapshots, strict=True)
                if not (snapshot.session_alive and snapshot.stable)
                or snapshot.version != checked.version
            )
        )
        return [recheck for recheck in found if recheck is not None]

    async def _recheck(
        self, before: Checked, snapshot: AccessSnapshot, limit: asyncio.Semaphore
    ) -> Recheck | None:
        async with limit:
            with suppress(Unavailable):  # they are asked about again soon
                try:
                    caller = await self.guard(before.token, before.caller.client)
                except (Unauthenticated, Forbidden) as refusal:
                    return Recheck(before, refusal)
                version = snapshot.version if snapshot.stable else None
                return Recheck(before, Checked(before.token, caller, version))
        return None
