"""Limits of log-in attempts."""

from dataclasses import dataclass, field
from typing import Protocol

from domain.identity import UserId
from domain.sessions import account_of, account_of_user


@dataclass(frozen=True, slots=True, kw_only=True)
class LogInAttempt:
    """Who tries to log in, from where; `name` as typed, whether somebody has it or not."""

    name: str
    user_id: UserId | None
    """Whose name it is, if it is anybody's."""
    address: str
    device: str | None = field(default=None, repr=False)
    """The token that the device was handed at a log-in before, if it shows one."""

    @property
    def account(self) -> str:
        """What is guessed at: a user, by whichever of their names, or a name that nobody has."""
        return account_of_user(self.user_id) if self.user_id else f"name {account_of(self.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One attempt, paid for before any costly work. `locked`: it must fail, whatever the password."""

    attempt: LogInAttempt
    locked: bool
    known_device: bool


class LogInThrottle(Protocol):
    """Limits log-in attempts per account (existing or not; by whichever of its names), by address, and in total.

    The time is that of whoever keeps the counts.
    """

    async def reserve(self, attempt: LogInAttempt) -> Reservation:
        """Pay for one attempt in all buckets that count it, or in none and raise `Throttled`.

        A device that shows a token which it was handed by this account is known: it has an account bucket, a lock
        and a bucket in place of its network's for itself, and pays in no other; so nobody else can lock it out. While
        one more failure would lock, one attempt at a time is let in unlocked.
        """
        ...

    async def succeeded(self, reservation: Reservation, *, device: str | None = None) -> None:
        """Give the account bucket its attempt back, forget its failures, and know the device that shows `device`."""
        ...

    async def failed(self, reservation: Reservation) -> None:
        """Count a failure; enough in a row lock the account for a while that doubles, and passes by itself."""
        ...

    async def forget_devices(self, user_id: UserId, *, keep: str | None = None) -> None:
        """Know no device of a user any more but the one that shows `keep`."""
        ...
