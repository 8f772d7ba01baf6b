"""The cache of access in memory: the shared one, for tests and demos, and what each process keeps of it."""

from datetime import datetime, timedelta

from adapters.bounded_cache import BoundedCache
from application.metrics import ACCESS_READS
from application.ports.access_cache import AccessCache
from application.ports.metrics import UNMEASURED, Metrics
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


class LocalAccessCache(AccessCache):
    """The entries that this process has read from the shared cache, or put there; of at most `limit` users.

    It is asked first, and keeps what the shared cache has no room for. It needs no clock: a version lasts for
    `VERSION_TTL`, and what was read under it is used no longer.
    """

    def __init__(self, shared: AccessCache, limit: int, metrics: Metrics = UNMEASURED) -> None:
        self._shared = shared
        self._metrics = metrics
        self._local = BoundedCache[UserId, tuple[str, Access]](limit)

    async def get(self, user_id: UserId, version: str) -> Access | None:
        local = self._local.get(user_id)
        if local is not None and local[0] == version:
            self._metrics.count(ACCESS_READS, "process")
            return local[1]
        access = await self._shared.get(user_id, version)
        self._metrics.count(ACCESS_READS, "database" if access is None else "redis")
        if access is not None:
            self._local.put(user_id, (version, access))
        return access

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        self._local.put(user_id, (version, access))
        await self._shared.put(user_id, version, access)
