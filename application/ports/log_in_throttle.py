"""Limits of log-in attempts."""

from dataclasses import dataclass, field
from typing import Protocol

from domain.identity import UserId
from domain.log_in_throttle import account_of, account_of_user


@dataclass(frozen=True, slots=True, kw_only=True)
class LogInAttempt:
    """One log-in attempt; `name` is as typed, and may be unknown."""

    name: str
    user_id: UserId | None
    """The user with this name, if there is one."""
    address: str
    device: str | None = field(default=None, repr=False)
    """The token from an earlier log-in of this device, if it sends one."""

    @property
    def account(self) -> str:
        """The account that is guessed at: a user, by any of their names, or an unknown name."""
        return account_of_user(self.user_id) if self.user_id else f"name {account_of(self.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One attempt, counted before any costly work. If `locked`, it must fail even with the right password."""

    attempt: LogInAttempt
    locked: bool
    known_device: bool


class LogInThrottle(Protocol):
    """Limits log-in attempts per account (known or unknown, by any of its names), per address, and in total.

    Time is that of the store of the counts.
    """

    async def reserve(self, attempt: LogInAttempt) -> Reservation:
        """Count one attempt in all its buckets; if one is empty, count it in none and raise `Throttled`.

        A device that sends a token of this account is known. It has its own account bucket and lock, and its own
        bucket instead of that of its network, so others cannot lock it out. When one more failure would lock the
        account, only one attempt at a time is let in unlocked.
        """
        ...

    async def succeeded(self, reservation: Reservation, *, device: str | None = None) -> None:
        """Return the attempt to the account bucket, reset its failures, and make `device` a known device."""
        ...

    async def failed(self, reservation: Reservation) -> None:
        """Count a failure. Enough in a row lock the account for a time that doubles; locks expire."""
        ...

    async def forget_devices(self, user_id: UserId, *, keep: str | None = None) -> None:
        """Forget all known devices of a user except `keep`."""
        ...
