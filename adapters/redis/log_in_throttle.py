"""The log-in throttle in Redis.

Its keys share one hash tag, so the scripts work on a Redis Cluster. That costs nothing: the
bucket of everyone is one key and almost every attempt pays there, so one node sees every attempt anyway.

- `throttle:{log-in}:account:<hmac>[:<device>]`: hash, the bucket and the failures of an account, or of an account on
  a device that it knows
- `throttle:{log-in}:device:<hmac>:<device>`: what such a device pays in, in place of the bucket of its network
- `throttle:{log-in}:devices:<hmac>`: sorted set, the known devices of an account by when they are forgotten
- `throttle:{log-in}:network:<address, /64 or /48>`, `throttle:{log-in}:everyone`: buckets

Names, and the tokens of devices, are stored as an HMAC: a reader of Redis does not learn who has an account,
and cannot show a token.
"""

import hashlib
import hmac

from adapters.redis.buckets import limits_of, operands
from adapters.redis.client import RedisServers
from adapters.redis.scripts import Script, duration, microseconds
from application.ports.log_in_throttle import LogInAttempt, LogInThrottle, Reservation
from application.settings import ThrottleSettings
from domain.identity import UserId
from domain.log_in_throttle import (
    FAILURES_FORGOTTEN_AFTER,
    MAX_KNOWN_DEVICES,
    Throttled,
    account_of_user,
    lock_ladder,
    networks_of,
)


class RedisLogInThrottle(LogInThrottle):
    """One script per step. Attempts are counted before their passwords are checked, so concurrent ones count too."""

    def __init__(self, client: RedisServers, settings: ThrottleSettings, name_key: bytes) -> None:
        self._settings = settings
        self._name_key = name_key
        self._locks = lock_ladder(first=settings.first_lock, longest=settings.longest_lock)
        self._reserve = Script(client, "time", "keep", "gcra", "log_in_throttle_reserve")
        self._succeeded = Script(client, "time", "keep", "log_in_throttle_succeeded")
        self._failed = Script(client, "time", "keep", "log_in_throttle_failed")
        self._forget_devices = Script(client, "log_in_throttle_forget_devices")

    async def reserve(self, attempt: LogInAttempt) -> Reservation:
        limits = self._settings
        account, device = self._digest(attempt.account), self._device(attempt.device)
        networks = networks_of(attempt.address)
        wait, locked, known = await self._reserve(
            [
                _devices_key(account),
                _account_key(account),
                _account_key(account, device),
                f"throttle:{{log-in}}:device:{account}:{device}",
                *(f"throttle:{{log-in}}:network:{network}" for network in networks),
                "throttle:{log-in}:everyone",
            ],
            device,
            limits.lock_after,
            microseconds(limits.first_lock),
            *operands(
                [
                    limits.account,
                    limits.address,
                    *limits_of(networks, limits.address),
                    limits.global_,
                ]
            ),
        )
        if wait:
            raise Throttled(duration(wait))
        return Reservation(attempt=attempt, locked=bool(locked), known_device=bool(known))

    async def succeeded(self, reservation: Reservation, *, device: str | None = None) -> None:
        await self._succeeded(
            [
                self._reserved_key(reservation),
                _devices_key(self._digest(reservation.attempt.account)),
            ],
            microseconds(self._settings.account.interval),
            self._device(device),
            microseconds(self._settings.known_device),
            MAX_KNOWN_DEVICES,
        )

    async def failed(self, reservation: Reservation) -> None:
        if reservation.locked:
            return
        await self._failed(
            [self._reserved_key(reservation)],
            self._settings.lock_after,
            microseconds(FAILURES_FORGOTTEN_AFTER),
            *map(microseconds, self._locks),
        )

    async def forget_devices(self, user_id: UserId, *, keep: str | None = None) -> None:
        account = self._digest(account_of_user(user_id))
        await self._forget_devices([_devices_key(account)], self._device(keep))

    def _reserved_key(self, reservation: Reservation) -> str:
        attempt = reservation.attempt
        device = self._device(attempt.device) if reservation.known_device else ""
        return _account_key(self._digest(attempt.account), device)

    def _device(self, token: str | None) -> str:
        return self._digest(f"device {token}") if token else ""

    def _digest(self, text: str) -> str:
        keyed = hmac.new(self._name_key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return keyed.hexdigest()[:32]


def _account_key(account: str, device: str = "") -> str:
    return f"throttle:{{log-in}}:account:{account}{device and f':{device}'}"


def _devices_key(account: str) -> str:
    return f"throttle:{{log-in}}:devices:{account}"
