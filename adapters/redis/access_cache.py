"""The cache of access in Redis.

- `auth:permission:<{user_id}>`: string, what the user may do and the version it was read under
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import cast

from adapters.redis.batch import Batch
from adapters.redis.client import RedisServers
from application.ports.access_cache import AccessCache
from domain.access import Access
from domain.grants import Grant, Grants
from domain.identity import UserId


class RedisAccessCache(AccessCache):
    """A string per user, of two lines: the version and the flags, and the grants. Concurrent reads share an MGET."""

    def __init__(self, client: RedisServers, ttl: timedelta) -> None:
        self._client = client
        self._ttl = ttl // timedelta(milliseconds=1)
        self._stored = Batch(self._read)

    async def get(self, user_id: UserId, version: str) -> Access | None:
        stored = await self._stored(user_id)
        return _to_access(stored, version) if stored else None

    async def _read(self, user_ids: Sequence[UserId]) -> list[str | None]:
        keys = map(_access_key, user_ids)
        return cast("list[str | None]", await self._client.execute("MGET", *keys))

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        await self._client.execute(
            "SET", _access_key(user_id), _to_text(access, version), "PX", self._ttl
        )


class RedisClusterAccessCache(RedisAccessCache):
    """The same on a Redis Cluster, where users have slots of their own: a GET per user."""

    async def get(self, user_id: UserId, version: str) -> Access | None:
        (stored,) = await self._read([user_id])
        return _to_access(stored, version) if stored else None


def _access_key(user_id: UserId) -> str:
    return f"auth:permission:<{{{user_id}}}>"


# Increase it when the meaning of the text changes: old and new processes run together during a deployment.
_FORMAT = 3


def _to_text(access: Access, version: str) -> str:
    flags = [access.is_active, access.is_admin, access.must_change_password]
    given = access.grants
    patterns = [grant.value for grant in given.patterns]
    grants = [sorted(given.exact), patterns, sorted(given.buttons), sorted(given.routers)]
    return f"{json.dumps([_FORMAT, version, *flags])}\n{json.dumps(grants)}"


def _to_access(text: str, version: str) -> Access | None:
    head, _, grants = text.partition("\n")
    stored_format, stored_version, *flags = json.loads(head)
    if (stored_format, stored_version) != (_FORMAT, version):
        return None
    is_active, is_admin, must_change_password = flags
    return Access(
        is_active=is_active,
        is_admin=is_admin,
        must_change_password=must_change_password,
        grants=_to_grants(grants),
    )


@lru_cache(maxsize=1024)
def _to_grants(text: str) -> Grants:
    """Return the same object for the same text: many users have the same roles."""
    exact, patterns, buttons, routers = json.loads(text)
    return Grants(
        exact=frozenset(exact),
        patterns=tuple(map(Grant, patterns)),
        buttons=frozenset(buttons),
        routers=frozenset(routers),
    )
