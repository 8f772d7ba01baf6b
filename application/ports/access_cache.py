"""A cache of what users may do, shared by all processes."""

from typing import Protocol

from domain.access import Access
from domain.identity import UserId


class AccessCache(Protocol):
    """The access of users, shared by all processes. Raises `Unavailable`."""

    async def get(self, user_id: UserId, version: str) -> Access | None:
        """Return the access that was stored under exactly this version, or None."""
        ...

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        """Replace the stored access of this user. It expires no later than an access token."""
        ...
