"""Versions of access in memory, with the semantics of `adapters.redis.access_versions`."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from application.ports.access_versions import (
    DIRTY_TTL,
    VERSION_TTL,
    AccessSnapshot,
    AccessVersions,
    Change,
)
from application.ports.sessions import SessionStore
from application.ports.system import Clock
from domain.identity import UserId
from domain.sessions import SessionId


class MemoryAccessVersions(AccessVersions):
    """Versions contain a number that is never reused. Memory loses nothing, so everyone starts stable."""

    def __init__(self, sessions: SessionStore, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._numbers = itertools.count(1)
        self._everyones = 0
        self._users: dict[UserId, int] = {}
        self._under_way: dict[UUID, tuple[Change, datetime]] = {}

    async def fetch(self, user_id: UserId, session_id: SessionId) -> AccessSnapshot:
        now = self._clock.now()
        period = int(now.timestamp()) // int(VERSION_TTL.total_seconds())
        return AccessSnapshot(
            session_alive=await self._sessions.find(user_id, session_id) is not None,
            version=f"{self._everyones} {self._users.get(user_id)} {period}",
            stable=not any(
                change.everyone or user_id in change.user_ids for change in self._changes()
            ),
        )

    async def fetch_many(
        self, callers: Sequence[tuple[UserId, SessionId]]
    ) -> Sequence[AccessSnapshot]:
        return [await self.fetch(*caller) for caller in callers]

    async def mark_dirty(self, change: Change) -> None:
        self._under_way = {c.id: self._under_way[c.id] for c in self._changes()}
        self._mark(change)
        self._move(change)

    async def clear_dirty(self, change: Change) -> None:
        self._under_way.pop(change.id, None)
        self._move(change)

    def _mark(self, change: Change) -> None:
        self._under_way[change.id] = change, self._clock.now() + DIRTY_TTL

    def _changes(self) -> Iterator[Change]:
        now = self._clock.now()
        return (change for change, ends_at in self._under_way.values() if ends_at > now)

    def _move(self, change: Change) -> None:
        number = next(self._numbers)
        if change.everyone:
            self._everyones = number
        for user_id in change.user_ids:
            self._users[user_id] = number
