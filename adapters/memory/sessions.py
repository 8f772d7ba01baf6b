"""Sessions, seen ciphertexts and throttles in memory, with the semantics of `adapters.redis`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from application.ports.sessions import (
    LogInAttempt,
    LogInThrottle,
    Opened,
    RateLimiter,
    Reservation,
    SeenCiphertexts,
    SessionStore,
)
from application.ports.system import Clock
from application.settings import Limit, ThrottleSettings
from domain.identity import UserId
from domain.sessions import (
    FAILURES_FORGOTTEN_AFTER,
    MOST_KNOWN_DEVICES,
    NewSession,
    RefreshClaims,
    Rotation,
    RotationOutcome,
    Session,
    SessionId,
    Throttled,
    TokenId,
    lock_ladder,
    network_of,
)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Kept:
    """A session, and what only its rotation needs to know."""

    session: Session
    expires_at: datetime
    previous: TokenId | None = None
    rotated_at: datetime = _LONG_AGO
    full_at: datetime = _LONG_AGO


class MemorySessionStore(SessionStore):
    """Nothing here awaits, so each method is one atomic step."""

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
                full_at, wait = _pay(kept.full_at, limit, now)
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


class MemorySeenCiphertexts(SeenCiphertexts):
    """The digests shown lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, datetime] = {}

    async def first_use(self, digest: str, *, within: timedelta) -> bool:
        now = self._clock.now()
        self._until = {seen: until for seen, until in self._until.items() if until > now}
        if digest in self._until:
            return False
        self._until[digest] = now + within
        return True


def _pay(full_at: datetime, limit: Limit, now: datetime) -> tuple[datetime, timedelta]:
    """Return when a bucket will be full again after one more attempt, and how long to wait before paying for it.

    The generic cell rate algorithm (ITU-T I.371), as in `adapters/redis/gcra.lua`.
    """
    after = max(full_at, now) + limit.interval
    return after, max(timedelta(0), after - now - limit.interval * limit.attempts)


@dataclass(slots=True)
class _Account:
    """The bucket and the failures of an account, or of an account on a device that it knows."""

    full_at: datetime = _LONG_AGO
    failures: int = 0
    locked_until: datetime = _LONG_AGO
    forgotten_at: datetime = _LONG_AGO


class MemoryLogInThrottle(LogInThrottle):
    """Nothing here awaits, so of two attempts at once the second sees what the first has paid."""

    def __init__(self, settings: ThrottleSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._locks = lock_ladder(first=settings.first_lock, longest=settings.longest_lock)
        self._accounts: dict[tuple[str, ...], _Account] = {}
        self._networks: dict[str, datetime] = {}
        self._everyone = _LONG_AGO
        self._devices: dict[str, dict[str, datetime]] = {}

    async def reserve(self, attempt: LogInAttempt) -> Reservation:
        limits, now = self._settings, self._clock.now()
        name, device, network = (
            attempt.account,
            _device(attempt),
            network_of(attempt.address),
        )
        self._forget(now)
        known = self._devices.get(name, {}).get(device, _LONG_AGO) > now
        reservation = Reservation(attempt=attempt, locked=False, known_device=known)
        account = self._account(reservation)
        paid = (
            _pay(account.full_at, limits.account, now),
            _pay(self._networks.get(network, _LONG_AGO), limits.address, now),
            _pay(self._everyone, limits.everyone, now),
        )
        longest_wait = max(wait for _, wait in paid)
        if longest_wait:
            raise Throttled(longest_wait)

        (account.full_at, _), (self._networks[network], _), (self._everyone, _) = paid
        locked = account.locked_until > now
        if not locked and account.failures + 1 >= limits.failures_before_lock:
            # The attempt holds the lock until it is settled, so that a second one finds the account locked.
            account.locked_until = now + limits.first_lock
        account.forgotten_at = max(account.forgotten_at, account.full_at, account.locked_until)
        return replace(reservation, locked=locked)

    async def succeeded(self, reservation: Reservation) -> None:
        now = self._clock.now()
        account = self._account(reservation)
        account.full_at = max(account.full_at, now) - self._settings.account.interval
        account.failures, account.locked_until = 0, _LONG_AGO
        devices = self._devices.setdefault(reservation.attempt.account, {})
        devices[_device(reservation.attempt)] = now + self._settings.known_device
        for device in sorted(devices, key=lambda d: devices[d])[:-MOST_KNOWN_DEVICES]:
            del devices[device]

    async def failed(self, reservation: Reservation) -> None:
        if reservation.locked:
            return
        now = self._clock.now()
        account = self._account(reservation)
        account.failures += 1
        steps = account.failures - self._settings.failures_before_lock
        if steps >= 0:
            account.locked_until = now + self._locks[min(steps, len(self._locks) - 1)]
        account.forgotten_at = max(account.locked_until, now) + FAILURES_FORGOTTEN_AFTER

    def _account(self, reservation: Reservation) -> _Account:
        name, device = reservation.attempt.account, _device(reservation.attempt)
        key = (name, device) if reservation.known_device else (name,)
        return self._accounts.setdefault(key, _Account())

    def _forget(self, now: datetime) -> None:
        self._accounts = {k: a for k, a in self._accounts.items() if a.forgotten_at > now}
        self._networks = {n: full_at for n, full_at in self._networks.items() if full_at > now}


def _device(attempt: LogInAttempt) -> str:
    return f"{attempt.device} {network_of(attempt.address)}"


class MemoryRateLimiter(RateLimiter):
    """A bucket per key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_at: dict[tuple[str, str], datetime] = {}

    async def hit(self, bucket: str, key: str, limit: Limit) -> None:
        now = self._clock.now()
        self._full_at = {k: full_at for k, full_at in self._full_at.items() if full_at > now}
        full_at, wait = _pay(self._full_at.get((bucket, key), now), limit, now)
        if wait:
            raise Throttled(wait)
        self._full_at[bucket, key] = full_at
