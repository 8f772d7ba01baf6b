"""Versions of what users may do, by which every process knows when its copy is out of date."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from domain.identity import UserId
from domain.sessions import SessionId

DIRTY_TTL = timedelta(seconds=60)
"""The dirty mark of a change that is never cleared expires after this time."""

VERSION_TTL = timedelta(minutes=10)
"""A version lasts this long at most, so changes made past the service (by SQL, say) take effect too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSnapshot:
    """The state of a user's access and of one of their sessions, as one fetch returns it."""

    session_alive: bool
    version: str
    """Differs after every change to the access of this user, and after every `VERSION_TTL`."""
    stable: bool
    """False while a change is in progress: then read the relational store, and cache nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change to the access of these users, or of `everyone`."""

    id: UUID
    user_ids: Collection[UserId] = ()
    everyone: bool = False


class AccessVersions(Protocol):
    """Tells every process when its cached access of a user is out of date.

    A reader first fetches a snapshot, then reads the relational store. It caches what it read under the version
    of the snapshot, and only if the snapshot was stable. It uses a cached value only if a later snapshot has the
    same version. A writer writes, marks dirty, commits, and clears the mark. Each step may fail or never happen.

    Promise: a value that is used at a fetch L contains every change that was committed before L.
    Proof. The value was read after a stable fetch K with the version of L. Assume that a change was committed
    after that read and before L.

    1. Versions never repeat, so the version did not move between K and L.
    2. Marking and clearing move the version. So the change was marked before K and not cleared before L.
    3. K was stable, so at K the mark had disappeared although it was not cleared. There are two ways:
       - It had expired: K came at least `DIRTY_TTL` after the mark. By then the commit had happened or could not
         happen any more (`UnitOfWork.commit`), so the read after K contains the change.
       - It was lost with data of the store. A process that finds that the store lost data, or may have lost it (it was
         restarted, emptied, restored or replaced), moves everyone's version and marks everyone dirty for
         `DIRTY_TTL`. K came after that, so the argument for an expired mark holds here too.

    Only the clock of the store counts. Raises `Unavailable` rather than guess.
    """

    async def fetch(self, user_id: UserId, session_id: SessionId) -> AccessSnapshot:
        """Return a snapshot in at most one round trip, which concurrent callers may share.

        The snapshot is never older than the call: a caller only shares a round trip that starts after it.
        """
        ...

    async def fetch_many(
        self, callers: Sequence[tuple[UserId, SessionId]]
    ) -> Sequence[AccessSnapshot]:
        """Return a snapshot of each, as `fetch` does, in a round trip for hundreds of them together."""
        ...

    async def mark_dirty(self, change: Change) -> None:
        """Mark its users dirty for `DIRTY_TTL` and move their versions; the last step before the commit."""
        ...

    async def clear_dirty(self, change: Change) -> None:
        """Move the versions again and clear the mark; marks of other changes remain."""
        ...
