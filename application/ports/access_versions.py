"""Versions of what users may do, by which every process knows when its copy is out of date."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from domain.identity import UserId
from domain.sessions import SessionId

DIRTY_TTL = timedelta(seconds=60)
"""How long after `mark_dirty` a change of access that nobody finishes settles by itself."""

VERSION_TTL = timedelta(minutes=10)
"""How long one version lasts at most, so that even what was changed behind our back (by SQL, say) arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSnapshot:
    """What one look says about a user and one of their sessions."""

    session_alive: bool
    version: str
    """Another text after every change to the access of this user, and every `VERSION_TTL`."""
    stable: bool
    """False while a change is under way: then the relational store decides, and nothing is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of what these users may do, or `everyone`."""

    id: UUID
    user_ids: Collection[UserId] = ()
    everyone: bool = False


class AccessVersions(Protocol):
    """Tells every process when what it remembers of somebody's access is out of date.

    Readers look first and read the relational store second. They remember what they read only if the look
    was settled, under its version, and use it only under the version of a later look. Writers write, begin,
    commit, finish: any of it may fail, or never come.

    Why nobody uses at a look L what was read after a look K if a change was committed between that read and
    L: versions never repeat, so none moved between K and L. Hence the change began before K and did not
    finish before L; it was under way at K, yet K was settled. So its mark was gone:

    - It had lapsed. Then K came `DIRTY_TTL` after the begin, and by then the commit is done or will never be
      (`UnitOfWork.commit`). What was read after K has the change.
    - It was lost. Whoever finds that the store lost something, or may have (it was restarted, emptied, restored,
      replaced), moves everyone's version and leaves everyone unsettled for `DIRTY_TTL`. K came later than
      that, and the same holds.

    Time is measured by the store alone. Raises `Unavailable` rather than guess.
    """

    async def fetch(self, user_id: UserId, session_id: SessionId) -> AccessSnapshot:
        """Return the standing in at most one round trip, which concurrent callers may share.

        It is never older than the call: a caller shares only what is asked of the store afterwards.
        """
        ...

    async def mark_dirty(self, change: Change) -> None:
        """Make its users unsettled for `DIRTY_TTL` and move their versions; the last thing before the commit."""
        ...

    async def clear_dirty(self, change: Change) -> None:
        """Move the versions again, and settle unless another change is under way."""
        ...
