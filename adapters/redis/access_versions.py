"""Versions of access in Redis.

- `auth:version`: hash, everything that decides whether cached access is still valid. `run` is the
  `run_id` of the server that wrote it (INFO), `nonce` is everyone's version and the field `<user_id>` one user's,
  `changes` has a line per change in progress. It is one key, so that it can only be lost as a whole, which is
  noticed: a server that was restarted, emptied, restored from a backup or replaced by its replica never revives a
  version, nor forgets a change in progress.

Outside of this is a server that was replaced without its knowledge and is still asked. An account of Redis with few
rights needs INFO besides reading, writing and scripts.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import cast

from adapters.redis.batch import Batch
from adapters.redis.client import RedisClient, RedisServers
from adapters.redis.cluster import RedisClusterClient
from adapters.redis.scripts import Script
from adapters.redis.sessions import session_key
from application.ports.access_versions import (
    DIRTY_TTL,
    VERSION_TTL,
    AccessSnapshot,
    AccessVersions,
    Change,
)
from domain.errors import Unavailable
from domain.identity import UserId
from domain.sessions import SessionId

_VERSIONS = "auth:version"

_EVERYONE = "*"

_MILLISECOND = timedelta(milliseconds=1)

_Question = tuple[UserId, SessionId]


class RedisAccessVersions(AccessVersions):
    """A script per step. Concurrent callers of `fetch` share one, over a connection that is kept for it.

    Each answer has the run id of its server. So an answer over any connection, after a reconnect or
    behind a proxy, is believed only if it comes from the server that has the versions.
    """

    def __init__(
        self,
        client: RedisServers,
        *,
        dirty_ttl: timedelta = DIRTY_TTL,
        version_ttl: timedelta = VERSION_TTL,
    ) -> None:
        self._client = client
        self._dirty_ttl = dirty_ttl // _MILLISECOND
        self._version_ttl = version_ttl // _MILLISECOND
        self._take_over = Script(
            client, client.run_id, "access_versions", "access_versions_take_over"
        )
        self._mark_dirty = Script(
            client, client.run_id, "access_versions", "access_versions_mark_dirty"
        )
        self._clear_dirty = Script(
            client, client.run_id, "access_versions", "access_versions_clear_dirty"
        )
        self._fetch = Script(client, client.run_id, "access_versions_fetch", held=True)
        self._fetched = Batch(self._snapshots)

    async def fetch(self, user_id: UserId, session_id: SessionId) -> AccessSnapshot:
        with self._client.span_of("access_versions_fetch"):
            return await self._fetched((user_id, session_id))

    async def fetch_many(
        self, callers: Sequence[tuple[UserId, SessionId]]
    ) -> Sequence[AccessSnapshot]:
        return await self._fetched.many(callers)

    async def mark_dirty(self, change: Change) -> None:
        await self._mark_dirty([_VERSIONS], *self._operands(change))

    async def clear_dirty(self, change: Change) -> None:
        await self._clear_dirty([_VERSIONS], *self._operands(change))

    async def _snapshots(self, questions: Sequence[_Question]) -> list[AccessSnapshot]:
        users = [str(user_id) for user_id, _ in questions]
        keys = self._sessions(users, questions)
        run_id, known_run_id, now, everyones, alive, versions, stable = await self._fetch(
            [_VERSIONS, *keys], *users
        )
        is_lost = known_run_id != run_id
        if is_lost:
            await self._record_loss(run_id)
        return [
            AccessSnapshot(
                session_alive=bool(session_alive),
                version=f"{everyones} {version} {self._period(user_id, now)}",
                stable=bool(is_stable) and not is_lost,
            )
            for (user_id, _), session_alive, version, is_stable in zip(
                questions, alive, versions, stable, strict=True
            )
        ]

    def _sessions(self, users: Sequence[str], questions: Sequence[_Question]) -> list[str]:
        """Return the sessions that are where the versions are."""
        return [
            session_key(user, session_id)
            for user, (_, session_id) in zip(users, questions, strict=True)
        ]

    async def _record_loss(self, run_id: str) -> None:
        """Mark everyone dirty, for the server with `run_id` lost what it knew."""
        # If it is a server from before, the next question goes where new connections go.
        await self._client.release_held()
        (taken_over,) = await self._take_over([_VERSIONS], *self._operands())
        if taken_over != run_id:
            # Another server than the one that answered. That one's sessions may be out of date.
            raise Unavailable("Redis")

    def _period(self, user_id: UserId, now: int) -> int:
        # Each user's period starts at another moment, so that they do not all expire at once.
        return (now + user_id.int % self._version_ttl) // self._version_ttl

    def _operands(self, *changes: Change) -> list[str | int]:
        operands = [part for change in changes for part in (str(change.id), _users(change))]
        return [secrets.token_urlsafe(12), self._dirty_ttl, *operands]


class RedisClusterAccessVersions(RedisAccessVersions):
    """Asks two masters side by side: that of the versions, and that of the user's sessions.

    Each master is asked for itself, so one that does not answer stops only its own users.
    """

    def __init__(self, client: RedisClusterClient, **ttl: timedelta) -> None:
        super().__init__(client, **ttl)
        self._cluster = client
        self._is_alive = Script(client, client.run_id, "access_versions_alive")
        self._alive_at: dict[RedisClient, Batch[str, int]] = {}

    async def fetch(self, user_id: UserId, session_id: SessionId) -> AccessSnapshot:
        alive, snapshot = await asyncio.gather(
            self._alive(session_key(str(user_id), session_id)), super().fetch(user_id, session_id)
        )
        return replace(snapshot, session_alive=bool(alive))

    async def fetch_many(
        self, callers: Sequence[tuple[UserId, SessionId]]
    ) -> Sequence[AccessSnapshot]:
        return await asyncio.gather(*(self.fetch(*caller) for caller in callers))

    def _sessions(self, users: Sequence[str], questions: Sequence[_Question]) -> list[str]:  # noqa: ARG002 - they are elsewhere
        return []

    async def _alive(self, session: str) -> int:
        master = await self._cluster.server_of(session)
        batch = self._alive_at.get(master)
        if batch is None:
            batch = self._alive_at[master] = Batch(partial(self._alive_of, master))
        return await batch(session)

    async def _alive_of(self, master: RedisClient, sessions: Sequence[str]) -> list[int]:
        commands = [self._is_alive.command([session]) for session in sessions]
        answers = await self._cluster.execute_at(master, commands)
        alive = []
        for session, answer in zip(sessions, answers, strict=True):
            # After an error the session is somewhere else by now, or its master does not know the script.
            said = await self._is_alive([session]) if isinstance(answer, Exception) else answer
            alive += cast("list[int]", said)
        return alive


def _users(change: Change) -> str:
    return _EVERYONE if change.everyone else ",".join(map(str, change.user_ids))
