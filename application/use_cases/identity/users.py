"""The management of users: list, create, delete, and reset a password."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.paging import Page, PageRequest
from application.ports.log_in_throttle import LogInThrottle
from application.ports.password_hasher import PasswordHasher
from application.ports.sessions import SessionStore
from application.ports.system import Clock, IdGenerator, Secrets
from application.ports.unit_of_work import UnitOfWorkFactory
from application.ports.users import UserFilter
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller
from application.use_cases.identity.authorization import (
    assign,
    audit_details,
    check_not_last_administrator,
    known_roles,
    lock_manageable_user,
)
from application.use_cases.identity.passwords import ChoosePassword
from application.use_cases.identity.profile import UserWithRoles
from application.use_cases.sessions.passwords import UnsealPassword
from domain.access import BeyondOwnAccess, OwnAccessChange, check_ceiling
from domain.identity import (
    Email,
    Password,
    PersonName,
    UnreadablePassword,
    User,
    UserId,
    Username,
    UserNotFound,
    UserStatus,
)
from domain.password_transport import SealedPassword
from domain.roles import Role, RoleCode, RoleSummary
from domain.versions import Versions, check_version


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user who was created, or whose password was reset, with a one-time password that is shown once."""

    user: User
    roles: Sequence[Role]
    one_time_password: str | None


@dataclass(frozen=True, slots=True)
class ListedUser:
    """A user and their roles, including disabled ones, without the permissions of the roles."""

    user: User
    roles: Sequence[RoleSummary]


@dataclass(frozen=True, slots=True)
class ListUsers:
    """List one page of the users that match a filter."""

    uow: UnitOfWorkFactory

    async def __call__(self, criteria: UserFilter, page: PageRequest) -> Page[ListedUser]:
        async with self.uow() as uow:
            users = await uow.users.page(criteria, page)
            roles = await uow.roles.summaries_of([user.id for user in users.records])
        return Page(
            [ListedUser(user, roles.get(user.id, ())) for user in users.records], users.total
        )


@dataclass(frozen=True, slots=True)
class GetUser:
    """Get one user."""

    uow: UnitOfWorkFactory

    async def __call__(self, user_id: UserId) -> UserWithRoles:
        async with self.uow() as uow:
            user = await uow.users.find(user_id)
            if user is None:
                raise UserNotFound(user_id)
            roles = await uow.roles.of_users([user_id])
        return UserWithRoles(user, roles.get(user_id, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDraft:
    """The user to create. Without a password they get a one-time password."""

    username: Username
    email: Email
    name: PersonName
    password: SealedPassword | None = None
    roles: frozenset[RoleCode] = frozenset()
    status: UserStatus = UserStatus.ACTIVE
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class CreateUser:
    """Create a user with no more access than the caller has."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    unseal: UnsealPassword
    hasher: PasswordHasher
    choose: ChoosePassword
    secrets: Secrets
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit

    async def __call__(self, caller: Caller, draft: UserDraft) -> NewUser:
        """Raise `UnreadablePassword`, `PasswordRejected`, `UnknownRoles`, `BeyondOwnAccess` or a conflict."""
        one_time = None
        if draft.password is None:
            one_time = self.secrets.one_time_password()
            password_hash = await self.hasher.hash(Password(one_time))
        else:
            password_hash = await self._chosen(draft, draft.password)
        now = self.clock.now()
        user = User(
            id=UserId(self.ids.new()),
            username=draft.username,
            email=draft.email,
            name=draft.name,
            password_hash=password_hash,
            status=draft.status,
            is_admin=draft.is_admin,
            created_at=now,
            updated_at=now,
            password_changed_at=now,
        )
        if one_time is not None:
            user.make_password_one_time(at=now)
        async with self.uow() as uow:
            await uow.roles.lock_access()
            caller = await self.authorize(uow, caller)
            if draft.is_admin and not caller.access.is_admin:
                raise BeyondOwnAccess(["administration"])
            roles = await known_roles(uow, draft.roles)
            check_ceiling(caller.access, roles)
            await uow.users.add(user)
            await assign(uow, user.id, roles)
            await self.audit(
                uow,
                "users.created",
                caller.client,
                actor=caller.user_id,
                target=f"user:{user.id}",
                details=audit_details(user, roles),
            )
            await uow.commit()
        return NewUser(user, roles, one_time)

    async def _chosen(self, draft: UserDraft, sealed: SealedPassword) -> str:
        password = await self.unseal(sealed)
        if password is None:
            raise UnreadablePassword(field="password")
        identifiers = draft.username.value, draft.email.value, draft.name.value
        return await self.choose(password, identifiers=identifiers)


@dataclass(frozen=True, slots=True)
class DeleteUser:
    """Delete a user, their files, and private rooms without another member. Their audit entries stay."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    commit: CommitAccessChange
    store: SessionStore
    throttle: LogInThrottle
    clock: Clock
    audit: RecordAudit

    async def __call__(
        self, caller: Caller, user_id: UserId, *, expected: Versions | None = None
    ) -> None:
        """Raise `UserNotFound`, `PreconditionFailed`, `BeyondOwnAccess` or `LastAdministrator`."""
        async with self.uow() as uow:
            caller, user, roles = await lock_manageable_user(uow, self.authorize, caller, user_id)
            check_version(user.updated_at, expected)
            if user.is_admin and user.is_active:
                await check_not_last_administrator(uow, user_id)
            await uow.rooms.delete_with_last_member(user_id, at=self.clock.now())
            await uow.users.delete(user_id)
            await uow.files.delete_all_of(user_id, at=self.clock.now())
            await self.audit(
                uow,
                "users.deleted",
                caller.client,
                actor=caller.user_id,
                target=f"user:{user_id}",
                details=audit_details(user, roles),
            )
            await self.store.end_all(user_id)
            await self.throttle.forget_devices(user_id)
            await self.commit(uow, [user_id])


@dataclass(frozen=True, slots=True)
class ResetPassword:
    """Replace a user's password by a one-time password, and end all their sessions."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    commit: CommitAccessChange
    hasher: PasswordHasher
    secrets: Secrets
    store: SessionStore
    throttle: LogInThrottle
    clock: Clock
    audit: RecordAudit

    async def __call__(self, caller: Caller, user_id: UserId) -> NewUser:
        """Raise `UserNotFound`, `BeyondOwnAccess`, or `OwnAccessChange`: `ChangePassword` is for one's own password."""
        if user_id == caller.user_id:
            raise OwnAccessChange
        one_time = self.secrets.one_time_password()
        chosen = await self.hasher.hash(Password(one_time))
        async with self.uow() as uow:
            caller, user, roles = await lock_manageable_user(uow, self.authorize, caller, user_id)
            user.give_one_time_password(chosen, at=self.clock.now())
            await uow.users.save(user)
            await self.audit(
                uow,
                "users.password_reset",
                caller.client,
                actor=caller.user_id,
                target=f"user:{user_id}",
            )
            await self.store.end_all(user_id)
            await self.throttle.forget_devices(user_id)
            await self.commit(uow, [user_id])
        return NewUser(user, roles, one_time)
