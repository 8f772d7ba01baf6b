"""Sessions and seen ciphertexts in Redis.

Keys, with the braces as written (the hash tag of a Redis Cluster: one user's keys share a slot):

- `auth:session:<{user_id}>:<{session_id}>`: hash, one living session; times in microseconds since 1970
- `auth:refresh:<{user_id}>:<{token_id}>`: hash, the one refresh token of a session that may be used next
- `auth:sessions:<{user_id}>`: sorted set of session ids by the time they were opened
- `auth:replay:<sha256>`: a ciphertext that was shown

Each has a time to live from the moment it exists, and the server's own clock ends it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import cast
from uuid import UUID

from adapters.redis.client import RedisClient
from adapters.redis.scripts import Script, duration, instant, microseconds
from application.ports.sessions import SeenCiphertexts, SessionStore
from application.settings import Limit
from domain.identity import UserId
from domain.sessions import (
    RefreshClaims,
    Rotation,
    RotationOutcome,
    Session,
    SessionId,
    TokenId,
)


class RedisSessionStore(SessionStore):
    """One script per decision; each is one round trip."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._open = Script(client, "keep", "sessions", "open")
        self._rotate = Script(client, "keep", "gcra", "sessions", "rotate")
        self._list = Script(client, "sessions", "list")
        self._end = Script(client, "sessions", "end")
        self._end_all = Script(client, "sessions", "end_all")

    async def open(self, session: Session, *, idle: timedelta, cap: int) -> Sequence[SessionId]:
        ended = await self._open(
            [
                _sessions_key(session.user_id),
                session_key(session.user_id, session.id),
                _refresh_key(session.user_id, session.token_id),
            ],
            str(session.id),
            cap,
            microseconds(min(idle, session.ends_at - session.last_seen_at)),
            microseconds(session.created_at),
            session.fingerprint,
            *_to_fields(session),
        )
        return [SessionId(UUID(session_id)) for session_id in ended]

    async def find(self, user_id: UserId, session_id: SessionId) -> Session | None:
        stored = cast(
            "dict[str, str]", await self._client.hgetall(session_key(user_id, session_id))
        )
        return _to_session(user_id, session_id, stored) if stored else None

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
        now: datetime,
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
            microseconds(now),
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

    async def end_all(self, user_id: UserId, *, keep: SessionId | None = None) -> int:
        (ended,) = await self._end_all([_sessions_key(user_id)], str(keep or ""))
        return int(ended)


class RedisSeenCiphertexts(SeenCiphertexts):
    """A key per ciphertext, set by whoever comes first."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def first_use(self, digest: str, *, within: timedelta) -> bool:
        return bool(await self._client.set(f"auth:replay:{digest}", "", nx=True, px=within))


def _sessions_key(user_id: UserId) -> str:
    return f"auth:sessions:<{{{user_id}}}>"


def session_key(user_id: UserId, session_id: SessionId) -> str:
    """Return the key that exists while the session lives."""
    return f"auth:session:<{{{user_id}}}>:<{{{session_id}}}>"


def _refresh_key(user_id: UserId, token_id: TokenId) -> str:
    return f"auth:refresh:<{{{user_id}}}>:<{{{token_id}}}>"


def _to_fields(session: Session) -> tuple[str | int, ...]:
    return (
        *("current", str(session.token_id)),
        *("issued_at", microseconds(session.token_issued_at)),
        *("created_at", microseconds(session.created_at)),
        *("last_seen_at", microseconds(session.last_seen_at)),
        *("ends_at", microseconds(session.ends_at)),
        *("fingerprint", session.fingerprint),
        *("agent", session.agent),
        *("address", session.address),
    )


def _to_session(user_id: UserId, session_id: SessionId, stored: Mapping[str, str]) -> Session:
    return Session(
        id=session_id,
        user_id=user_id,
        token_id=TokenId(UUID(stored["current"])),
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
