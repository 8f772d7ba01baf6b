"""Sessions in memory, with the semantics of `adapters.redis.sessions`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from adapters.memory.buckets import pay
from application.ports.sessions import Opened, SessionStore
from application.ports.system import Clock
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

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Kept:
    """A session, and the state of its rotation."""

    session: Session
    expires_at: datetime
    previous: TokenId | None = None
    rotated_at: datetime = _LONG_AGO
    full_at: datetime = _LONG_AGO


class MemorySessionStore(SessionStore):
    """No method awaits, so each is one atomic step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._users: dict[UserId, dict[SessionId, _Kept]] = {}

    async def open(
        self, new: NewSession, *, idle: timedelta, absolute: timedelta, cap: int
    ) -> Opened:
        living = self._living(new.user_id)
        if new.id not in living:
            now = self._clock.now()
            session = _opened(new, now.replace(microsecond=0), absolute)
            living[new.id] = _Kept(session, now + min(idle, absolute))
        session = living[new.id].session
        oldest_first = sorted(living.values(), key=_age)
        ended = [kept.session.id for kept in oldest_first[: max(0, len(living) - cap)]]
        for session_id in ended:
            del living[session_id]
        self._users[new.user_id] = living
        return Opened(session, ended)

    async def find(self, user_id: UserId, session_id: SessionId) -> Session | None:
        kept = self._living(user_id).get(session_id)
        return kept.session if kept else None

    async def of_user(self, user_id: UserId) -> Sequence[Session]:
        return [
            kept.session for kept in sorted(self._living(user_id).values(), key=_age, reverse=True)
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
        now = self._clock.now()
        living = self._living(shown.user_id)
        kept = living.get(shown.session_id)
        if kept is None:
            return Rotation(outcome=RotationOutcome.UNKNOWN)
        if kept.session.valid_from < valid_from:
            del living[shown.session_id]
            return Rotation(outcome=RotationOutcome.UNKNOWN)
        outcome = _judge(
            kept, shown, successor=successor, fingerprint=fingerprint, now=now, grace=grace
        )
        match outcome:
            case RotationOutcome.ROTATED:
                full_at, wait = pay(kept.full_at, limit, now)
                if wait:
                    return Rotation(outcome=RotationOutcome.THROTTLED, retry_after=wait)
                living[shown.session_id] = kept = _Kept(
                    _rotated(kept.session, successor, now),
                    expires_at=min(now + idle, kept.session.ends_at),
                    previous=shown.token_id,
                    rotated_at=now,
                    full_at=full_at,
                )
                return Rotation(outcome=outcome, session=kept.session)
            case RotationOutcome.REPEATED:
                return Rotation(outcome=outcome, session=kept.session)
            case _:
                del living[shown.session_id]
                return Rotation(outcome=outcome)

    async def end(self, user_id: UserId, session_id: SessionId) -> bool:
        return self._living(user_id).pop(session_id, None) is not None

    async def end_all(self, user_id: UserId) -> int:
        ended = len(self._living(user_id))
        self._users.pop(user_id, None)
        return ended

    async def end_others(self, user_id: UserId, *, keep: SessionId, valid_from: datetime) -> int:
        living = self._living(user_id)
        kept = living.get(keep)
        self._users[user_id] = {}
        if kept is not None:
            kept.session = replace(kept.session, valid_from=valid_from)
            self._users[user_id][keep] = kept
        return len(living) - (kept is not None)

    def _living(self, user_id: UserId) -> dict[SessionId, _Kept]:
        now = self._clock.now()
        living = self._users.get(user_id, {})
        for session_id in [i for i, kept in living.items() if kept.expires_at <= now]:
            del living[session_id]
        return living


def _judge(
    kept: _Kept,
    shown: RefreshClaims,
    *,
    successor: TokenId,
    fingerprint: str,
    now: datetime,
    grace: timedelta,
) -> RotationOutcome:
    session = kept.session
    if session.ends_at <= now:
        return RotationOutcome.UNKNOWN
    if session.fingerprint != fingerprint:
        return RotationOutcome.AGENT_CHANGED
    if shown.token_id == session.token_id:
        return RotationOutcome.ROTATED
    in_grace = session.token_id == successor or now - kept.rotated_at < grace
    if shown.token_id == kept.previous and in_grace:
        return RotationOutcome.REPEATED
    if shown.issued_at > session.token_issued_at:
        return RotationOutcome.UNKNOWN
    return RotationOutcome.REUSED


def _rotated(session: Session, successor: TokenId, now: datetime) -> Session:
    issued_at = max(now.replace(microsecond=0), session.token_issued_at)
    return replace(session, token_id=successor, token_issued_at=issued_at, last_seen_at=now)


def _opened(new: NewSession, at: datetime, absolute: timedelta) -> Session:
    return Session(
        id=new.id,
        user_id=new.user_id,
        token_id=new.token_id,
        valid_from=new.valid_from,
        fingerprint=new.fingerprint,
        agent=new.agent,
        address=new.address,
        token_issued_at=at,
        created_at=at,
        last_seen_at=at,
        ends_at=at + absolute,
    )


def _age(kept: _Kept) -> tuple[datetime, str]:
    return kept.session.created_at, str(kept.session.id)
