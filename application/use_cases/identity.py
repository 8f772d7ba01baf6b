"""Registration, a user's own data and password, and the first administrator."""

from dataclasses import dataclass

from application.ports.identity import CommonPasswords, PasswordHasher
from application.ports.sessions import LogInAttempt, LogInThrottle, RateLimiter, SessionStore
from application.ports.system import Clock, IdGenerator, Secrets
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import FirstAdministrator, Registration, SessionSettings, ThrottleSettings
from application.use_cases.sessions import Caller, CheckPassword, Device, UnsealPassword
from domain.identity import (
    AdministratorExists,
    Email,
    Password,
    PasswordPolicy,
    PasswordRejected,
    PersonName,
    RegistrationClosed,
    UnreadablePassword,
    User,
    UserId,
    Username,
    WrongPassword,
)
from domain.sessions import InvalidCredentials, SealedPassword, fingerprint, network_of


@dataclass(frozen=True, slots=True)
class ChoosePassword:
    """Turn a new password into its hash, if the policy accepts it."""

    hasher: PasswordHasher
    common: CommonPasswords
    policy: PasswordPolicy

    async def __call__(
        self, password: Password, *, identifiers: tuple[str, ...], field: str = "password"
    ) -> str:
        """Return the hash; raise `PasswordRejected` with the rule that failed."""
        self.policy.check(
            password, identifiers=identifiers, is_common=self.common.__contains__, field=field
        )
        return await self.hasher.hash(password)


@dataclass(frozen=True, slots=True)
class Register:
    """Let a person make their own account, where that is allowed."""

    uow: UnitOfWorkFactory
    unseal: UnsealPassword
    choose: ChoosePassword
    limiter: RateLimiter
    clock: Clock
    ids: IdGenerator
    registration: Registration
    throttle: ThrottleSettings

    async def __call__(
        self,
        username: Username,
        email: Email,
        name: PersonName,
        password: SealedPassword,
        device: Device,
    ) -> User:
        """Raise `RegistrationClosed`, `Throttled`, `UnreadablePassword`, `PasswordRejected` or a conflict."""
        if self.registration is Registration.CLOSED:
            raise RegistrationClosed
        now = self.clock.now()
        await self.limiter.hit(
            "register", network_of(device.address), self.throttle.public, now=now
        )
        opened = await self.unseal(password)
        if opened is None:
            raise UnreadablePassword(field="password")
        user = User(
            id=UserId(self.ids.new()),
            username=username,
            email=email,
            name=name,
            password_hash=await self.choose(
                opened, identifiers=(username.value, email.value, name.value)
            ),
            created_at=now,
            updated_at=now,
            password_changed_at=now,
        )
        async with self.uow() as uow:
            await uow.users.add(user)
            await uow.commit()
        return user


@dataclass(frozen=True, slots=True)
class UpdateProfile:
    """Let the caller change how they are called and reached."""

    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(
        self, caller: Caller, *, name: PersonName | None, email: Email | None
    ) -> User:
        """Return the changed user; raise `EmailTaken`."""
        async with self.uow() as uow:
            user = await uow.users.lock(caller.user_id)
            if name is not None:
                user.rename(name, at=self.clock.now())
            if email is not None:
                user.change_email(email, at=self.clock.now())
            await uow.users.save(user)
            await uow.commit()
        return user


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Let the caller change their password; every other session of theirs ends."""

    uow: UnitOfWorkFactory
    throttle: LogInThrottle
    unseal: UnsealPassword
    check: CheckPassword
    choose: ChoosePassword
    store: SessionStore
    clock: Clock
    settings: SessionSettings

    async def __call__(
        self, caller: Caller, old: SealedPassword, new: SealedPassword, device: Device
    ) -> None:
        """Raise `WrongPassword`, `UnreadablePassword` or `PasswordRejected`.

        Raise `Throttled` too: a stolen session must not become a place to guess in.
        """
        reservation = await self.throttle.reserve(
            LogInAttempt(
                name=caller.user.username.value,
                address=device.address,
                device=fingerprint(device.agent, self.settings.agent_binding),
            ),
            now=self.clock.now(),
        )
        opened_old = await self.unseal(old)
        try:
            checked = await self.check(reservation, opened_old)
        except InvalidCredentials:
            raise WrongPassword from None
        await self.throttle.succeeded(reservation, now=self.clock.now())
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
            user = await uow.users.lock(caller.user_id)
            if user.password_hash != checked.password_hash:
                raise WrongPassword  # changed by somebody else while we were hashing
            user.change_password(chosen, at=self.clock.now())
            await uow.users.save(user)
            # Before the commit, not after it: if the store of sessions is down nothing is changed, and no
            # session outlives the password that opened it. Log-ins wait for the lock on the user meanwhile.
            await self.store.end_all(caller.user_id, keep=caller.session_id)
            await uow.commit()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdministrator:
    """Who was made; `one_time_password` is shown once, and is None if the operator chose one."""

    user: User
    one_time_password: str | None


@dataclass(frozen=True, slots=True)
class CreateFirstAdministrator:
    """Make the administrator that everything else starts with, unless there is one."""

    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    choose: ChoosePassword
    clock: Clock
    ids: IdGenerator
    secrets: Secrets

    async def __call__(self, wanted: FirstAdministrator) -> NewAdministrator:
        """Raise `AdministratorExists`, or what is wrong with the wanted values."""
        now = self.clock.now()
        username, email, name = (
            Username(wanted.username),
            Email(wanted.email),
            PersonName(wanted.name),
        )
        async with self.uow() as uow:
            await uow.users.serialise_administrators()
            if await uow.users.has_active_administrator():
                raise AdministratorExists
            one_time: str | None = None
            if wanted.password is None:
                one_time = self.secrets.one_time_password()
                # The policy is for what people think up.
                password_hash = await self.hasher.hash(Password(one_time))
            else:
                password_hash = await self.choose(
                    Password(wanted.password),
                    identifiers=(username.value, email.value, name.value),
                )
            user = User(
                id=UserId(self.ids.new()),
                username=username,
                email=email,
                name=name,
                password_hash=password_hash,
                is_admin=True,
                must_change_password=one_time is not None,
                created_at=now,
                updated_at=now,
                password_changed_at=now,
            )
            await uow.users.add(user)
            await uow.commit()
        return NewAdministrator(user=user, one_time_password=one_time)
