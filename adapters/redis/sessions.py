"""Sessions in Redis.

Keys, with the braces as written (the hash tag of a Redis Cluster: one user's keys share a slot):

- `auth:session:<{user_id}>:<{session_id}>`: hash, one session; times in microseconds since 1970. It lives if `run` is
  that of the server (`run_id` of INFO)
- `auth:refresh:<{user_id}>:<{token_id}>`: hash, the one refresh token of a session that may be used next
- `auth:sessions:<{user_id}>`: sorted set of session ids by the time they were opened

Each has a time to live from the moment it exists, and the server's own clock ends it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from adapters.redis.client import RedisServers
from adapters.redis.scripts import Script, duration, instant, microseconds
from application.ports.sessions import Opened, SessionStore
from application.settings import Limit
from domain.identity import UserId
from domain.sessions import (
    NewSession,
    RefreshClaims,
    Rotation,
    RotationOutcome,
    Session,
    SessionId,
    TokenId,
)


class RedisSessionStore(SessionStore):
    """One script per decision; each is one round trip."""

    def __init__(self, client: RedisServers) -> None:
        self._open = Script(client, "time", "keep", client.run_id, "sessions", "sessions_open")
        self._find = Script(client, client.run_id, "sessions", "sessions_find")
        self._rotate = Script(
            client, "time", "keep", "gcra", client.run_id, "sessions", "sessions_rotate"
        )
        self._list = Script(client, client.run_id, "sessions", "sessions_list")
        self._end = Script(client, client.run_id, "sessions", "sessions_end")
        self._end_all = Script(client, client.run_id, "sessions", "sessions_end_all")
        self._end_others = Script(client, client.run_id, "sessions", "sessions_end_others")

    async def open(
        self, new: NewSession, *, idle: timedelta, absolute: timedelta, cap: int
    ) -> Opened:
        fields, ended = await self._open(
            [
                _sessions_key(new.user_id),
                session_key(new.user_id, new.id),
                _refresh_key(new.user_id, new.token_id),
            ],
            str(new.id),
            str(new.token_id),
            new.fingerprint,
            cap,
            microseconds(idle),
            microseconds(absolute),
            *("valid_from", microseconds(new.valid_from)),
            *("agent", new.agent),
            *("address", new.address),
        )
        return Opened(
            _to_session(new.user_id, new.id, _pairs(fields)),
            [SessionId(UUID(session_id)) for session_id in ended],
        )

    async def find(self, user_id: UserId, session_id: SessionId) -> Session | None:
        keys = [_sessions_key(user_id), session_key(user_id, session_id)]
        fields = await self._find(keys, str(session_id))
        return _to_session(user_id, session_id, _pairs(fields)) if fields else None

    async def of_user(self, user_id: UserId) -> Sequence[Session]:
        stored = await self._list([_sessions_key(user_id)])
        return [
            _to_session(user_id, SessionId(UUID(session_id)), _pairs(fields))
            for session_id, fields in reversed(stored)
        ]

    async def rotate(
        self,
        shown: RefreshClaims,
        *,
        successor: TokenId,
        fingerprint: str,
        valid_from: datetime,
        idle: timedelta,
        grace: timedelta,
        limit: Limit,
    ) -> Rotation:
        outcome, wait, fields = await self._rotate(
            [
                _sessions_key(shown.user_id),
                session_key(shown.user_id, shown.session_id),
                _refresh_key(shown.user_id, shown.token_id),
                _refresh_key(shown.user_id, successor),
            ],
            str(shown.session_id),
            str(shown.token_id),
            microseconds(shown.issued_at),
            fingerprint,
            str(successor),
            microseconds(valid_from),
            microseconds(idle),
            microseconds(grace),
            microseconds(limit.interval),
            limit.attempts,
        )
        return Rotation(
            outcome=RotationOutcome(outcome),
            session=_to_session(shown.user_id, shown.session_id, _pairs(fields))
            if fields
            else None,
            retry_after=duration(wait),
        )

    async def end(self, user_id: UserId, session_id: SessionId) -> bool:
        (ended,) = await self._end([_sessions_key(user_id)], str(session_id))
        return bool(ended)

    async def end_all(self, user_id: UserId) -> int:
        (ended,) = await self._end_all([_sessions_key(user_id)])
        return int(ended)

    async def end_others(self, user_id: UserId, *, keep: SessionId, valid_from: datetime) -> int:
        keys = [_sessions_key(user_id), session_key(user_id, keep)]
        (ended,) = await self._end_others(keys, str(keep), microseconds(valid_from))
        return int(ended)


def _sessions_key(user_id: UserId) -> str:
    return f"auth:sessions:<{{{user_id}}}>"


def session_key(user_id: UserId | str, session_id: SessionId) -> str:
    """Return the key of the hash that is the session."""
    return f"auth:session:<{{{user_id}}}>:<{{{session_id}}}>"


def _refresh_key(user_id: UserId, token_id: TokenId) -> str:
    return f"auth:refresh:<{{{user_id}}}>:<{{{token_id}}}>"


def _to_session(user_id: UserId, session_id: SessionId, stored: Mapping[str, str]) -> Session:
    return Session(
        id=session_id,
        user_id=user_id,
        token_id=TokenId(UUID(stored["current"])),
        valid_from=instant(stored["valid_from"]),
        token_issued_at=instant(stored["issued_at"]),
        created_at=instant(stored["created_at"]),
        last_seen_at=instant(stored["last_seen_at"]),
        ends_at=instant(stored["ends_at"]),
        fingerprint=stored["fingerprint"],
        agent=stored["agent"],
        address=stored["address"],
    )


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(list(pairwise(flat))[::2])
