"""Decryption of a received password, and its check within the limits on guessing."""

from dataclasses import dataclass
from datetime import timedelta

from application.ports.log_in_throttle import LogInThrottle, Reservation
from application.ports.password_hasher import PasswordHasher
from application.ports.password_transport import PasswordTransport
from application.ports.seen_ciphertexts import SeenCiphertexts
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import SessionSettings
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import ClientInfo
from domain.audit_log import AuditOutcome
from domain.identity import Password, User, UserId
from domain.password_transport import SealedPassword, is_fresh, parse_plaintext
from domain.sessions import InvalidCredentials

_MARGIN = timedelta(seconds=1)
"""How far the clocks of two stores may drift apart in a few minutes."""


@dataclass(frozen=True, slots=True)
class UnsealPassword:
    """Decrypt a password; accept each ciphertext once, and only fresh ones if so configured."""

    transport: PasswordTransport
    seen: SeenCiphertexts
    clock: Clock
    settings: SessionSettings

    async def __call__(self, sealed: SealedPassword) -> Password | None:
        """Return the password, or None for every reason to refuse it."""
        opened = await self.transport.open(sealed)
        unsealed = parse_plaintext(opened.plaintext) if opened else None
        if opened is None or unsealed is None:
            return None
        window = self.settings.ciphertext_window
        if unsealed.sealed_at_ms is not None or self.settings.require_fresh_ciphertext:
            if not is_fresh(unsealed, self.clock.now(), window=window):
                return None
            # A clock may be `window` ahead as well as behind, so a copy stays fresh for twice as long.
            if not await self.seen.first_use(opened.digest, within=2 * window + _MARGIN):
                return None
        return unsealed.password


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """Check the password of a user, within the limits on guessing.

    Unknown names, wrong passwords, disabled and locked users take the same path: one verification, count and error.
    """

    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    throttle: LogInThrottle
    clock: Clock
    audit: RecordAudit

    async def __call__(
        self,
        reservation: Reservation,
        user: User | None,
        password: Password | None,
        client: ClientInfo,
        *,
        failure_action: str = "sessions.log_in_failed",
        actor: UserId | None = None,
        accepts_one_time_password: bool = False,
    ) -> User:
        """Return `user`, who is active; raise `InvalidCredentials` after the failure is counted and recorded.

        `user` is the one for whom the attempt was reserved, None for an unknown name. The caller finds out whether
        they changed since they were read, in the transaction that follows. A one-time password that was used or has
        expired is a wrong one, unless it `accepts_one_time_password`.
        """
        believable = user is not None and password is not None and not reservation.locked
        # Verify even if no user has this name, and even if the password could not be decrypted:
        # otherwise the response time tells an attacker which it was.
        matches = await self.hasher.verify(
            password or Password(""), user.password_hash if user and believable else None
        )
        may_log_in = accepts_one_time_password or (
            user is not None and user.password_logs_in(at=self.clock.now())
        )
        if user is None or not matches or not user.is_active or not may_log_in:
            if not reservation.locked:
                await self.throttle.failed(reservation)
            await self._record_failure(failure_action, user, client, actor)
            raise InvalidCredentials
        return user

    async def _record_failure(
        self, action: str, user: User | None, client: ClientInfo, actor: UserId | None
    ) -> None:
        # Without the name: sometimes people type the password into the wrong field.
        async with self.uow() as uow:
            await self.audit(
                uow,
                action,
                client,
                actor=actor,
                target=f"user:{user.id}" if user else "",
                outcome=AuditOutcome.FAILURE,
            )
            await uow.commit()
