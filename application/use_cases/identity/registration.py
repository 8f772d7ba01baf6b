"""Accounts that no administrator creates: registration, and the first administrator."""

from dataclasses import dataclass

from application.ports.password_hasher import PasswordHasher
from application.ports.rate_limiter import RateLimiter
from application.ports.system import Clock, IdGenerator, Secrets
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import FirstAdministrator, Registration, ThrottleSettings
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import ClientInfo
from application.use_cases.identity.passwords import ChoosePassword
from application.use_cases.sessions.passwords import UnsealPassword
from domain.identity import (
    AdministratorExists,
    Email,
    Password,
    PersonName,
    RegistrationClosed,
    UnreadablePassword,
    User,
    UserId,
    Username,
)
from domain.password_transport import SealedPassword


@dataclass(frozen=True, slots=True)
class Register:
    """Register a new account, if registration is open."""

    uow: UnitOfWorkFactory
    unseal: UnsealPassword
    choose: ChoosePassword
    limiter: RateLimiter
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit
    registration: Registration
    throttle: ThrottleSettings

    async def __call__(
        self,
        username: Username,
        email: Email,
        name: PersonName,
        password: SealedPassword,
        client: ClientInfo,
    ) -> User:
        """Raise `RegistrationClosed`, `Throttled`, `UnreadablePassword`, `PasswordRejected` or a conflict."""
        if self.registration is Registration.CLOSED:
            raise RegistrationClosed
        await self.limiter.hit("register", client.address, self.throttle.public)
        opened = await self.unseal(password)
        if opened is None:
            raise UnreadablePassword(field="password")
        now = self.clock.now()
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
            await self.audit(
                uow, "users.registered", client, actor=user.id, target=f"user:{user.id}"
            )
            await uow.commit()
        return user


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdministrator:
    """The new administrator; `one_time_password` is shown once, and None if the operator chose a password."""

    user: User
    one_time_password: str | None


@dataclass(frozen=True, slots=True)
class CreateFirstAdministrator:
    """Create the first administrator, unless there is an administrator already."""

    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    choose: ChoosePassword
    clock: Clock
    ids: IdGenerator
    secrets: Secrets
    audit: RecordAudit

    async def __call__(self, wanted: FirstAdministrator) -> NewAdministrator:
        """Raise `AdministratorExists`, or the error of an invalid value."""
        now = self.clock.now()
        username, email, name = (
            Username(wanted.username),
            Email(wanted.email),
            PersonName(wanted.name),
        )
        async with self.uow() as uow:
            await uow.roles.lock_access(to_change=True)
            if await uow.users.has_active_administrator():
                raise AdministratorExists
            one_time: str | None = None
            if wanted.password is None:
                one_time = self.secrets.one_time_password()
                # The policy is for passwords that people choose.
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
                created_at=now,
                updated_at=now,
                password_changed_at=now,
            )
            if one_time is not None:
                user.make_password_one_time(at=now)
            await uow.users.add(user)
            await self.audit(
                uow,
                "users.first_administrator_created",
                ClientInfo(address=""),
                target=f"user:{user.id}",
            )
            await uow.commit()
        return NewAdministrator(user=user, one_time_password=one_time)
