"""The log-in throttle in memory, with the semantics of `adapters.redis.log_in_throttle`."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from adapters.memory.buckets import Buckets, limits_of, pay
from application.ports.log_in_throttle import LogInAttempt, LogInThrottle, Reservation
from application.ports.system import Clock
from application.settings import Limit, ThrottleSettings
from domain.identity import UserId
from domain.log_in_throttle import (
    FAILURES_FORGOTTEN_AFTER,
    MAX_KNOWN_DEVICES,
    Throttled,
    account_of_user,
    lock_ladder,
)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Account:
    """The bucket and the failures of an account, or of an account on a device that it knows."""

    full_at: datetime = _LONG_AGO
    failures: int = 0
    locked_until: datetime = _LONG_AGO
    forgotten_at: datetime = _LONG_AGO


class MemoryLogInThrottle(LogInThrottle):
    """No method awaits, so each is one atomic step."""

    def __init__(self, settings: ThrottleSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._locks = lock_ladder(first=settings.first_lock, longest=settings.longest_lock)
        self._accounts: dict[tuple[str, ...], _Account] = {}
        self._buckets = Buckets()
        self._devices: dict[str, dict[str, datetime]] = {}

    async def reserve(self, attempt: LogInAttempt) -> Reservation:
        limits, now = self._settings, self._clock.now()
        name, device = attempt.account, attempt.device or ""
        self._accounts = {k: a for k, a in self._accounts.items() if a.forgotten_at > now}
        known = self._devices.get(name, {}).get(device, _LONG_AGO) > now
        reservation = Reservation(attempt=attempt, locked=False, known_device=known)
        account = self._account(reservation)
        account_full_at, account_wait = pay(account.full_at, limits.account, now)
        counted: dict[tuple[str, ...], Limit] = {("device", name, device): limits.address}
        if not known:
            counted = {**limits_of("network", attempt.address, limits.address)}
            counted[("everyone",)] = limits.global_
        wait = max(account_wait, self._buckets.wait(counted, now))
        if wait:
            raise Throttled(wait)

        self._buckets.pay(counted, now)
        account.full_at = account_full_at
        locked = account.locked_until > now
        if not locked and account.failures + 1 >= limits.lock_after:
            # The attempt holds the lock until its result is known, so that a second one finds the account locked.
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
            for forgotten in sorted(devices, key=lambda d: devices[d])[:-MAX_KNOWN_DEVICES]:
                del devices[forgotten]

    async def failed(self, reservation: Reservation) -> None:
        if reservation.locked:
            return
        now = self._clock.now()
        account = self._account(reservation)
        account.failures += 1
        steps = account.failures - self._settings.lock_after
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
