"""Throttles in Redis.

The keys of the log-in throttle share one hash tag, so its scripts work on a Redis Cluster. That costs nothing: the
bucket of everyone is one key and every attempt pays there, so one node sees every attempt anyway.

- `throttle:{log-in}:account:<hmac>[:<device>]`: hash, the bucket and the failures of an account, or of an account on
  a device that it knows
- `throttle:{log-in}:devices:<hmac>`: sorted set, the known devices of an account by when they are forgotten
- `throttle:{log-in}:network:<address or /64>`, `throttle:{log-in}:everyone`: buckets
- `throttle:<bucket>:<key>`: any other bucket

Names are stored as an HMAC: whoever reads Redis learns of nobody that they have an account.
"""

import hashlib
import hmac

from adapters.redis.client import RedisClient
from adapters.redis.scripts import Script, duration, microseconds
from application.ports.sessions import LogInAttempt, LogInThrottle, RateLimiter, Reservation
from application.settings import Limit, ThrottleSettings
from domain.sessions import (
    FAILURES_FORGOTTEN_AFTER,
    MOST_KNOWN_DEVICES,
    Throttled,
    lock_ladder,
    network_of,
)


class RedisLogInThrottle(LogInThrottle):
    """One script per step: an attempt is paid for before anything about it is known, so none slips past another."""

    def __init__(self, client: RedisClient, settings: ThrottleSettings, name_key: bytes) -> None:
        self._settings = settings
        self._name_key = name_key
        self._locks = lock_ladder(first=settings.first_lock, longest=settings.longest_lock)
        self._reserve = Script(client, "time", "keep", "gcra", "reserve")
        self._succeeded = Script(client, "time", "keep", "succeeded")
        self._failed = Script(client, "time", "keep", "failed")

    async def reserve(self, attempt: LogInAttempt) -> Reservation:
        limits = self._settings
        wait, locked, known = await self._reserve(
            [
                self._account_key(attempt, on_device=False),
                self._account_key(attempt, on_device=True),
                f"throttle:{{log-in}}:network:{network_of(attempt.address)}",
                "throttle:{log-in}:everyone",
                self._devices_key(attempt),
            ],
            self._device(attempt),
            limits.failures_before_lock,
            microseconds(limits.first_lock),
            *_operands(limits.account),
            *_operands(limits.address),
            *_operands(limits.everyone),
        )
        if wait:
            raise Throttled(duration(wait))
        return Reservation(attempt=attempt, locked=bool(locked), known_device=bool(known))

    async def succeeded(self, reservation: Reservation) -> None:
        await self._succeeded(
            [
                self._account_key(reservation.attempt, on_device=reservation.known_device),
                self._devices_key(reservation.attempt),
            ],
            microseconds(self._settings.account.interval),
            self._device(reservation.attempt),
            microseconds(self._settings.known_device),
            MOST_KNOWN_DEVICES,
        )

    async def failed(self, reservation: Reservation) -> None:
        if reservation.locked:
            return
        await self._failed(
            [self._account_key(reservation.attempt, on_device=reservation.known_device)],
            self._settings.failures_before_lock,
            microseconds(FAILURES_FORGOTTEN_AFTER),
            *map(microseconds, self._locks),
        )

    def _account_key(self, attempt: LogInAttempt, *, on_device: bool) -> str:
        device = f":{self._device(attempt)}" if on_device else ""
        return f"throttle:{{log-in}}:account:{self._account(attempt)}{device}"

    def _devices_key(self, attempt: LogInAttempt) -> str:
        return f"throttle:{{log-in}}:devices:{self._account(attempt)}"

    def _account(self, attempt: LogInAttempt) -> str:
        return self._digest(attempt.account)

    def _device(self, attempt: LogInAttempt) -> str:
        return self._digest(f"{attempt.device} {network_of(attempt.address)}")

    def _digest(self, text: str) -> str:
        keyed = hmac.new(self._name_key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return keyed.hexdigest()[:32]


class RedisRateLimiter(RateLimiter):
    """One bucket, one script, one round trip."""

    def __init__(self, client: RedisClient) -> None:
        self._hit = Script(client, "time", "gcra", "hit")

    async def hit(self, bucket: str, key: str, limit: Limit) -> None:
        (wait,) = await self._hit([f"throttle:{bucket}:{key}"], *_operands(limit))
        if wait:
            raise Throttled(duration(wait))


def _operands(limit: Limit) -> tuple[int, int]:
    return microseconds(limit.interval), limit.attempts
