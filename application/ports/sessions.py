"""What sessions need from outside: tokens, the session store, the password transport, throttles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from application.settings import Limit
from domain.identity import UserId
from domain.sessions import (
    AccessClaims,
    NewSession,
    RefreshClaims,
    Rotation,
    SealedPassword,
    Session,
    SessionId,
    TokenId,
    account_of,
    account_of_user,
)


class Tokens(Protocol):
    """Signed tokens. Verifying raises `InvalidToken` for everything that is not exactly one of ours."""

    def issue_access(self, claims: AccessClaims) -> str:
        """Sign an access token with the active access key."""
        ...

    def verify_access(self, token: str, *, allow_expired: bool = False) -> AccessClaims:
        """Return the claims of a living access token, or of one that merely expired if that is allowed."""
        ...

    def issue_refresh(self, claims: RefreshClaims) -> str:
        """Sign a refresh token with the active refresh key; equal claims give an equal token."""
        ...

    def verify_refresh(self, token: str) -> RefreshClaims:
        """Return the claims of a living refresh token."""
        ...

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """Return the JWKs (RFC 7517) with which others verify access tokens.

        Those are the next, the active, and the retired ones until their last token has expired.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportKey:
    """The public key under which clients encrypt passwords."""

    key_id: str
    pem: str
    jwk: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenedPassword:
    """A decrypted ciphertext, and the digest (hex) that no other ciphertext has."""

    plaintext: bytes = field(repr=False)
    digest: str


class PasswordTransport(Protocol):
    """RSA-OAEP with SHA-256 and MGF1-SHA-256, without a label."""

    def public_key(self) -> TransportKey:
        """Return the key to encrypt with now."""
        ...

    def capacity(self) -> int:
        """Return how many bytes a client can encrypt, with whichever key it has."""
        ...

    async def open(self, sealed: SealedPassword) -> OpenedPassword | None:
        """Return what was inside, or None whatever is wrong: alphabet, length, key, padding.

        Runs off the event loop and raises `Unavailable` if too much is waiting there.
        """
        ...


class SeenCiphertexts(Protocol):
    """Which ciphertexts were shown before, so that a copied one opens nothing."""

    async def first_use(self, digest: str, *, within: timedelta) -> bool:
        """Tell whether `digest` is shown for the first time in `within`; of many callers at once one is first."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened, and which others of its user ended for it."""

    session: Session
    ended: Sequence[SessionId]


class SessionStore(Protocol):
    """Living sessions. Raises `Unavailable` rather than guess.

    The time is the store's, so the clocks of its callers may differ. A store that was restarted, restored or
    replaced may have forgotten which sessions were ended; so none of those that it knew before is alive.
    """

    async def open(
        self, new: NewSession, *, idle: timedelta, absolute: timedelta, cap: int
    ) -> Opened:
        """Store a session that ends when `idle` passes without a rotation, and after `absolute` in any case.

        Beyond `cap` of its user the oldest end.
        """
        ...

    async def find(self, user_id: UserId, session_id: SessionId) -> Session | None:
        """Return the session if it is alive."""
        ...

    async def of_user(self, user_id: UserId) -> Sequence[Session]:
        """Return the living sessions of a user, the most recently opened first."""
        ...

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
        """Decide in one atomic step what becomes of the shown refresh token.

        A session whose `valid_from` is before this one is over.

        Its session's current token: `successor` takes its place. The previous one within `grace` of its
        rotation: the same successor again, at no cost. Another one, or another `fingerprint`: the session
        is ended. Rotations beyond `limit` are refused and change nothing. A token issued later than all that
        the store knows of: the store went back in time; the session is ended, without alarm (`UNKNOWN`).
        """
        ...

    async def end(self, user_id: UserId, session_id: SessionId) -> bool:
        """End a session; tell whether there was one."""
        ...

    async def end_all(self, user_id: UserId) -> int:
        """End all sessions of a user; return how many."""
        ...

    async def end_others(self, user_id: UserId, *, keep: SessionId, valid_from: datetime) -> int:
        """End all sessions of a user but `keep`, which is valid from `valid_from` on; return how many."""
        ...


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


class DeviceCookies(Protocol):
    """What devices are handed at a log-in, to be known by. Which account knows which, the throttle keeps.

    After OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
    """

    def new(self) -> str:
        """Return a token of at least 128 bits, of the characters that a cookie may have (RFC 6265 §4.1.1)."""
        ...

    def is_ours(self, token: str | None) -> bool:
        """Tell whether this token was handed out by anybody who shares our secret."""
        ...


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


class RateLimiter(Protocol):
    """Limits by address what else everybody may do. The time is that of whoever keeps the counts."""

    async def hit(
        self, bucket: str, address: str, limit: Limit, *, device: str | None = None
    ) -> None:
        """Pay for one use in all buckets of `networks_of` the address, or in none and raise `Throttled`.

        `limit` is for the network; the site has `SITE_FACTOR` times as much. A `device` that has shown a token of ours
        pays in a bucket of its own instead.
        """
        ...
