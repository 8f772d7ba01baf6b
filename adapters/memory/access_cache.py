"""The cache of access in memory."""

from datetime import datetime, timedelta

from application.ports.access_cache import AccessCache
from application.ports.system import Clock
from domain.access import Access
from domain.identity import UserId


class MemoryAccessCache(AccessCache):
    """One entry per user."""

    def __init__(self, clock: Clock, ttl: timedelta) -> None:
        self._clock = clock
        self._ttl = ttl
        self._entries: dict[UserId, tuple[str, Access, datetime]] = {}

    async def get(self, user_id: UserId, version: str) -> Access | None:
        match self._entries.get(user_id):
            case (stored_version, access, ends_at) if (
                stored_version == version and ends_at > self._clock.now()
            ):
                return access
            case _:
                return None

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        self._entries[user_id] = version, access, self._clock.now() + self._ttl
