"""Sessions, seen ciphertexts and throttles in memory, with the semantics of `adapters.redis`."""

from collections.abc import Mapping, Sequence
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
    SITE_FACTOR,
    NewSession,
    RefreshClaims,
    Rotation,
    RotationOutcome,
    Session,
    SessionId,
    Throttled,
    TokenId,
    account_of_user,
    lock_ladder,
    networks_of,
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
        self._buckets = _Buckets()
        self._devices: dict[str, dict[str, datetime]] = {}

    async def reserve(self, attempt: LogInAttempt) -> Reservation:
        limits, now = self._settings, self._clock.now()
        name, device = attempt.account, attempt.device or ""
        self._accounts = {k: a for k, a in self._accounts.items() if a.forgotten_at > now}
        known = self._devices.get(name, {}).get(device, _LONG_AGO) > now
        reservation = Reservation(attempt=attempt, locked=False, known_device=known)
        account = self._account(reservation)
        account_full_at, account_wait = _pay(account.full_at, limits.account, now)
        counted: dict[tuple[str, ...], Limit] = {("device", name, device): limits.address}
        if not known:
            counted = {**_limits_of("network", attempt.address, limits.address)}
            counted[("everyone",)] = limits.everyone
        wait = max(account_wait, self._buckets.wait(counted, now))
        if wait:
            raise Throttled(wait)

        self._buckets.pay(counted, now)
        account.full_at = account_full_at
        locked = account.locked_until > now
        if not locked and account.failures + 1 >= limits.failures_before_lock:
            # The attempt holds the lock until it is settled, so that a second one finds the account locked.
            account.locked_until = now + limits.first_lock
        account.forgotten_at = max(account.forgotten_at, account.full_at, account.locked_until)
        return replace(reservation, locked=locked)

    async def succeeded(self, reservation: Reservation, *, device: str | None = None) -> None:
        now = self._clock.now()
        account = self._account(reservation)
        account.full_at = max(account.full_at, now) - self._settings.account.interval
        account.failures, account.locked_until = 0, _LONG_AGO
        if device:
            devices = self._devices.setdefault(reservation.attempt.account, {})
            devices[device] = now + self._settings.known_device
            for forgotten in sorted(devices, key=lambda d: devices[d])[:-MOST_KNOWN_DEVICES]:
                del devices[forgotten]

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

    async def forget_devices(self, user_id: UserId, *, keep: str | None = None) -> None:
        known = self._devices.pop(account_of_user(user_id), {})
        if keep in known:
            self._devices[account_of_user(user_id)] = {keep: known[keep]}

    def _account(self, reservation: Reservation) -> _Account:
        name, device = reservation.attempt.account, reservation.attempt.device or ""
        key = (name, device) if reservation.known_device else (name,)
        return self._accounts.setdefault(key, _Account())


class MemoryRateLimiter(RateLimiter):
    """A bucket per network and per site."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets = _Buckets()

    async def hit(
        self, bucket: str, address: str, limit: Limit, *, device: str | None = None
    ) -> None:
        now = self._clock.now()
        counted = _limits_of(bucket, address, limit)
        if device is not None:
            counted = {(bucket, "device", device): limit}
        if wait := self._buckets.wait(counted, now):
            raise Throttled(wait)
        self._buckets.pay(counted, now)


def _limits_of(bucket: str, address: str, limit: Limit) -> dict[tuple[str, ...], Limit]:
    """Return the limit of each bucket that an address pays in."""
    limits = (limit, limit.times(SITE_FACTOR))
    return {
        (bucket, network): each for network, each in zip(networks_of(address), limits, strict=False)
    }


class _Buckets:
    """When each bucket will be full again; one that is full is forgotten."""

    def __init__(self) -> None:
        self._full_at: dict[tuple[str, ...], datetime] = {}

    def wait(self, limits: Mapping[tuple[str, ...], Limit], now: datetime) -> timedelta:
        """Return how long to wait until each of them has an attempt left."""
        self._full_at = {k: full_at for k, full_at in self._full_at.items() if full_at > now}
        return max(self._after(key, limit, now)[1] for key, limit in limits.items())

    def pay(self, limits: Mapping[tuple[str, ...], Limit], now: datetime) -> None:
        """Take an attempt from each of them."""
        for key, limit in limits.items():
            self._full_at[key], _ = self._after(key, limit, now)

    def _after(
        self, key: tuple[str, ...], limit: Limit, now: datetime
    ) -> tuple[datetime, timedelta]:
        return _pay(self._full_at.get(key, now), limit, now)
