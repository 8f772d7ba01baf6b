"""The choice of a password, and its change by the user or the operator."""

from dataclasses import dataclass

from application.ports.common_passwords import CommonPasswords
from application.ports.log_in_throttle import LogInAttempt, LogInThrottle
from application.ports.password_hasher import PasswordHasher
from application.ports.password_transport import PasswordTransport
from application.ports.sessions import SessionStore
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWorkFactory
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller, ClientInfo, lock_caller
from application.use_cases.sessions.passwords import CheckPassword, UnsealPassword
from domain.identity import (
    Password,
    PasswordPolicy,
    PasswordRejected,
    UnreadablePassword,
    User,
    UserNotFound,
    WrongPassword,
)
from domain.password_transport import FRAME_SIZE, SealedPassword
from domain.sessions import InvalidCredentials, InvalidToken


@dataclass(frozen=True, slots=True)
class ChoosePassword:
    """Check a new password against the policy and hash it."""

    hasher: PasswordHasher
    common: CommonPasswords
    policy: PasswordPolicy
    transport: PasswordTransport

    async def __call__(
        self, password: Password, *, identifiers: tuple[str, ...], field: str = "password"
    ) -> str:
        """Return the hash; raise `PasswordRejected` with the rule that failed."""
        self.policy.check(
            password,
            identifiers=identifiers,
            is_common=self.common.__contains__,
            most_bytes=self.transport.capacity() - FRAME_SIZE,
            field=field,
        )
        return await self.hasher.hash(password)


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Change the caller's password, end their other sessions, and forget their other known devices."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    commit: CommitAccessChange
    throttle: LogInThrottle
    unseal: UnsealPassword
    check: CheckPassword
    choose: ChoosePassword
    store: SessionStore
    clock: Clock
    audit: RecordAudit

    async def __call__(
        self,
        caller: Caller,
        old: SealedPassword,
        new: SealedPassword,
        *,
        device: str | None = None,
    ) -> None:
        """Raise `WrongPassword`, `UnreadablePassword` or `PasswordRejected`.

        Raise `Throttled` too: a stolen session must not allow more guesses. Attempts count in the buckets of log-in
        and share its lock, because separate buckets would double the number of guesses. This adds no risk of a
        lock-out: anybody who knows a username can lock its account on unknown devices at log-in anyway.
        """
        async with self.uow() as uow:
            user = await uow.users.find(caller.user_id)
        if user is None:
            raise InvalidToken("the user is gone")
        reservation = await self.throttle.reserve(
            LogInAttempt(
                name=user.username.value,
                user_id=user.id,
                address=caller.client.address,
                device=device,
            )
        )
        opened_old = await self.unseal(old)
        try:
            checked = await self.check(
                reservation,
                user,
                opened_old,
                caller.client,
                failure_action="users.password_change_failed",
                actor=caller.user_id,
                accepts_one_time_password=True,  # by the log-in that opened this session
            )
        except InvalidCredentials:
            # The password of somebody who was disabled in this moment need not be wrong.
            async with self.uow() as uow:
                await self.authorize(uow, caller)
            raise WrongPassword from None
        await self.throttle.succeeded(reservation)
        opened_new = await self.unseal(new)
        if opened_new is None:
            raise UnreadablePassword(field="new_password")
        if opened_new == opened_old:
            raise PasswordRejected(
                "unchanged", "must differ from the present one", field="new_password"
            )
        chosen = await self.choose(
            opened_new, identifiers=checked.identifiers(), field="new_password"
        )

        async with self.uow() as uow:
            await uow.roles.lock_access()
            user = await lock_caller(uow, caller)
            await self.authorize(uow, caller)
            if user.password_hash != checked.password_hash:
                raise WrongPassword  # another request changed it while we were hashing
            user.change_password(chosen, at=self.clock.now())
            await uow.users.save(user)
            await self.audit(
                uow,
                "users.password_changed",
                caller.client,
                actor=user.id,
                target=f"user:{user.id}",
            )
            # Before the commit: if the session store is down, nothing changes, and no session outlives the
            # password that opened it. Log-ins meanwhile wait for the lock on the user.
            await self.store.end_others(
                user.id, keep=caller.session_id, valid_from=user.sessions_valid_from
            )
            await self.throttle.forget_devices(user.id, keep=device)
            await self.commit(uow, [user.id])


@dataclass(frozen=True, slots=True)
class SetPassword:
    """Set a user's password as the operator, and end all their sessions.

    The old password is not needed: this is the recovery of an administrator who lost theirs.
    """

    uow: UnitOfWorkFactory
    commit: CommitAccessChange
    choose: ChoosePassword
    store: SessionStore
    throttle: LogInThrottle
    clock: Clock
    audit: RecordAudit

    async def __call__(self, name: str, password: Password) -> User:
        """Return the user whose username or email is `name`; raise `UserNotFound` or `PasswordRejected`."""
        async with self.uow() as uow:
            found = await uow.users.find_by_login(name)
        if found is None:
            raise UserNotFound(name)
        chosen = await self.choose(password, identifiers=found.identifiers())
        async with self.uow() as uow:
            await uow.roles.lock_access(
                to_change=True
            )  # what they have under way is decided before, or not at all
            user = await uow.users.lock(found.id)
            user.change_password(chosen, at=self.clock.now())
            await uow.users.save(user)
            await self.audit(
                uow, "users.password_set", ClientInfo(address=""), target=f"user:{user.id}"
            )
            await self.store.end_all(user.id)
            await self.throttle.forget_devices(user.id)
            await self.commit(uow, [user.id])
        return user
