"""A cache of what users may do, shared by all processes."""

from typing import Protocol

from domain.access import Access
from domain.identity import UserId


class AccessCache(Protocol):
    """Remembers what users may do, shared by all processes. Raises `Unavailable`."""

    async def get(self, user_id: UserId, version: str) -> Access | None:
        """Return what was put under exactly this version, if it is still there."""
        ...

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        """Remember for no longer than an access token lives, in place of what was put for this user before."""
        ...
