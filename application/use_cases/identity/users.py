"""Users as administrators see them: list, make, change, remove, and their sessions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from application.paging import Page, PageRequest
from application.ports.identity import PasswordHasher, UserFilter
from application.ports.sessions import SessionStore
from application.ports.system import Clock, IdGenerator, Secrets
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.access import ChangeAccess
from application.use_cases.caller import Caller
from application.use_cases.documents import RecordAudit
from application.use_cases.identity.passwords import ChoosePassword
from application.use_cases.identity.profile import UserWithRoles
from application.use_cases.sessions import EndSessions, UnsealPassword
from domain.access import (
    BeyondOwnAccess,
    LastAdministrator,
    OwnAccess,
    Role,
    RoleCode,
    RoleNotFound,
    UnknownRoles,
    check_ceiling,
)
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
from domain.sessions import SealedPassword, Session, SessionId, SessionNotFound


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user who was made or whose password was reset; a one-time password is shown this once."""

    user: User
    roles: Sequence[Role]
    one_time_password: str | None


@dataclass(frozen=True, slots=True)
class ListUsers:
    """Show one page of the users that a filter finds."""

    uow: UnitOfWorkFactory

    async def __call__(self, which: UserFilter, page: PageRequest) -> Page[UserWithRoles]:
        async with self.uow() as uow:
            users = await uow.users.page(which, page)
            roles = await uow.roles.of_users([user.id for user in users.records])
        return Page(
            [UserWithRoles(user, roles.get(user.id, ())) for user in users.records], users.total
        )


@dataclass(frozen=True, slots=True)
class GetUser:
    """Show one user."""

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
    """Who shall be made; without a password they get a one-time password."""

    username: Username
    email: Email
    name: PersonName
    password: SealedPassword | None = None
    roles: frozenset[RoleCode] = frozenset()
    status: UserStatus = UserStatus.ACTIVE
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class CreateUser:
    """Make an account for somebody, with no more access than the caller has."""

    uow: UnitOfWorkFactory
    unseal: UnsealPassword
    hasher: PasswordHasher
    choose: ChoosePassword
    secrets: Secrets
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit

    async def __call__(self, caller: Caller, draft: UserDraft) -> NewUser:
        """Raise `UnreadablePassword`, `PasswordRejected`, `UnknownRoles`, `BeyondOwnAccess` or a conflict."""
        if draft.is_admin and not caller.access.is_admin:
            raise BeyondOwnAccess(["administration"])
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
            must_change_password=one_time is not None,
            created_at=now,
            updated_at=now,
            password_changed_at=now,
        )
        async with self.uow() as uow:
            roles = await _roles(uow, draft.roles)
            check_ceiling(caller.access, {grant for role in roles for grant in role.grants})
            await uow.users.add(user)
            await _assign(uow, user.id, roles)
            await self.audit(
                uow,
                "users.created",
                caller.origin,
                actor=caller.user_id,
                target=f"user:{user.id}",
                details=_facts(user, roles),
            )
            await uow.commit()
        return NewUser(user, roles, one_time)

    async def _chosen(self, draft: UserDraft, sealed: SealedPassword) -> str:
        password = await self.unseal(sealed)
        if password is None:
            raise UnreadablePassword(field="password")
        identifiers = draft.username.value, draft.email.value, draft.name.value
        return await self.choose(password, identifiers=identifiers)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """What shall be different; None leaves it as it is."""

    username: Username | None = None
    email: Email | None = None
    name: PersonName | None = None
    status: UserStatus | None = None
    is_admin: bool | None = None
    roles: frozenset[RoleCode] | None = None


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """Change somebody's data, status or roles; in force at their next request."""

    change: ChangeAccess
    store: SessionStore
    clock: Clock
    audit: RecordAudit

    async def __call__(self, caller: Caller, user_id: UserId, wanted: UserChange) -> UserWithRoles:
        """Raise `UserNotFound`, `OwnAccess`, `BeyondOwnAccess`, `LastAdministrator`, `UnknownRoles` or a conflict."""
        async with self.change([user_id]) as uow:
            await uow.users.serialise_administrators()
            user, roles = await _lock_within_reach(uow, caller, user_id)
            before = _facts(user, roles)
            if wanted.roles is not None:
                roles = await self._assign(uow, caller, user, roles, wanted.roles)
            await self._decide_administration(uow, caller, user, wanted)
            user.username = wanted.username or user.username
            user.email = wanted.email or user.email
            user.name = wanted.name or user.name
            user.updated_at = self.clock.now()
            await uow.users.save(user)
            if not user.is_active:
                await self.store.end_all(user.id)
            await self.audit(
                uow,
                "users.changed",
                caller.origin,
                actor=caller.user_id,
                target=f"user:{user.id}",
                details=_difference(before, _facts(user, roles)),
            )
        return UserWithRoles(user, roles)

    async def _assign(
        self,
        uow: UnitOfWork,
        caller: Caller,
        user: User,
        present: Sequence[Role],
        wanted: frozenset[RoleCode],
    ) -> Sequence[Role]:
        if frozenset(role.code for role in present) == wanted:
            return present
        if user.id == caller.user_id:
            raise OwnAccess
        roles = await _roles(uow, wanted)
        check_ceiling(
            caller.access,
            {grant for role in roles for grant in role.grants},
            already={grant for role in present for grant in role.grants},
        )
        await _assign(uow, user.id, roles)
        return roles

    async def _decide_administration(
        self, uow: UnitOfWork, caller: Caller, user: User, wanted: UserChange
    ) -> None:
        was_administrator = user.is_admin and user.is_active
        if wanted.is_admin and not user.is_admin and not caller.access.is_admin:
            raise BeyondOwnAccess(["administration"])
        if wanted.is_admin is not None:
            user.is_admin = wanted.is_admin
        if wanted.status is not None:
            user.status = wanted.status
        if was_administrator and not (user.is_admin and user.is_active):
            await _check_not_last_administrator(uow, user.id)


@dataclass(frozen=True, slots=True)
class DeleteUser:
    """Remove somebody; what they did stays in the audit log."""

    change: ChangeAccess
    store: SessionStore
    audit: RecordAudit

    async def __call__(self, caller: Caller, user_id: UserId) -> None:
        """Raise `UserNotFound`, `BeyondOwnAccess` or `LastAdministrator`."""
        async with self.change([user_id]) as uow:
            await uow.users.serialise_administrators()
            user, roles = await _lock_within_reach(uow, caller, user_id)
            if user.is_admin and user.is_active:
                await _check_not_last_administrator(uow, user_id)
            await uow.users.delete(user_id)
            await self.audit(
                uow,
                "users.deleted",
                caller.origin,
                actor=caller.user_id,
                target=f"user:{user_id}",
                details=_facts(user, roles),
            )
            await self.store.end_all(user_id)


@dataclass(frozen=True, slots=True)
class ResetPassword:
    """Give somebody a one-time password and end all their sessions."""

    change: ChangeAccess
    hasher: PasswordHasher
    secrets: Secrets
    store: SessionStore
    clock: Clock
    audit: RecordAudit

    async def __call__(self, caller: Caller, user_id: UserId) -> NewUser:
        """Raise `UserNotFound`, `BeyondOwnAccess`, or `OwnAccess`: one's own is changed by who knows the old one."""
        if user_id == caller.user_id:
            raise OwnAccess
        one_time = self.secrets.one_time_password()
        chosen = await self.hasher.hash(Password(one_time))
        async with self.change([user_id]) as uow:
            user, roles = await _lock_within_reach(uow, caller, user_id)
            user.change_password(chosen, at=self.clock.now())
            user.must_change_password = True
            await uow.users.save(user)
            await self.audit(
                uow,
                "users.password_reset",
                caller.origin,
                actor=caller.user_id,
                target=f"user:{user_id}",
            )
            await self.store.end_all(user_id)
        return NewUser(user, roles, one_time)


@dataclass(frozen=True, slots=True)
class ListUserSessions:
    """Show where somebody is logged in."""

    uow: UnitOfWorkFactory
    store: SessionStore

    async def __call__(self, user_id: UserId) -> Sequence[Session]:
        async with self.uow() as uow:
            if await uow.users.find(user_id) is None:
                raise UserNotFound(user_id)
        return await self.store.of_user(user_id)


@dataclass(frozen=True, slots=True)
class EndUserSessions:
    """End one or all of somebody's sessions."""

    uow: UnitOfWorkFactory
    end: EndSessions

    async def __call__(
        self, caller: Caller, user_id: UserId, session_id: SessionId | None = None
    ) -> int:
        """Return how many ended; raise `UserNotFound`, `BeyondOwnAccess` or `SessionNotFound`."""
        async with self.uow() as uow:
            await _lock_within_reach(uow, caller, user_id)
        if session_id is None:
            return await self.end.all(
                "sessions.ended", caller.origin, actor=caller.user_id, of=user_id
            )
        if not await self.end.one(
            "sessions.ended",
            caller.origin,
            actor=caller.user_id,
            of=user_id,
            session_id=session_id,
        ):
            raise SessionNotFound(session_id)
        return 1


async def _roles(uow: UnitOfWork, codes: Collection[RoleCode]) -> Sequence[Role]:
    roles = await uow.roles.by_codes(codes)
    unknown = {code.value for code in codes} - {role.code.value for role in roles}
    if unknown:
        raise UnknownRoles(unknown)
    return roles


async def _assign(uow: UnitOfWork, user_id: UserId, roles: Collection[Role]) -> None:
    try:
        await uow.roles.assign(user_id, [role.id for role in roles])
    except RoleNotFound as error:  # deleted since we looked
        gone = {role.code.value for role in roles if role.id in error.role_ids}
        raise UnknownRoles(gone) from None


async def _lock_within_reach(
    uow: UnitOfWork, caller: Caller, user_id: UserId
) -> tuple[User, Sequence[Role]]:
    """Lock a user who may do no more than the caller: who resets a password can log in with it."""
    user = await uow.users.lock(user_id)
    roles = (await uow.roles.of_users([user_id])).get(user_id, ())
    if user.id != caller.user_id:
        if user.is_admin and not caller.access.is_admin:
            raise BeyondOwnAccess(["administration"])
        # Disabled roles count: when one is enabled again, a session opened meanwhile has what it gives.
        check_ceiling(caller.access, {grant for role in roles for grant in role.grants})
    return user, roles


async def _check_not_last_administrator(uow: UnitOfWork, user_id: UserId) -> None:
    if not await uow.users.has_active_administrator(other_than=user_id):
        raise LastAdministrator(user_id)


def _facts(user: User, roles: Sequence[Role]) -> dict[str, object]:
    return {
        "username": user.username.value,
        "email": user.email.value,
        "name": user.name.value,
        "status": user.status.value,
        "isAdmin": user.is_admin,
        "roles": sorted(role.code.value for role in roles),
    }


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    return {
        key: {"from": before[key], "to": after[key]} for key in after if before[key] != after[key]
    }
