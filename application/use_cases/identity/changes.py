"""Changes of a user's data, status and roles by a caller who manages users."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports.log_in_throttle import LogInThrottle
from application.ports.sessions import SessionStore
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit, difference
from application.use_cases.caller import Caller
from application.use_cases.identity.authorization import (
    assign,
    audit_details,
    check_not_last_administrator,
    known_roles,
    lock_manageable_user,
)
from application.use_cases.identity.profile import UserWithRoles
from domain.access import BeyondOwnAccess, OwnAccessChange, check_ceiling
from domain.identity import Email, PersonName, User, UserId, Username, UserStatus
from domain.roles import Role, RoleCode
from domain.versions import Versions, check_version, next_version


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """The new values; None leaves a value as it is."""

    username: Username | None = None
    email: Email | None = None
    name: PersonName | None = None
    status: UserStatus | None = None
    is_admin: bool | None = None
    roles: frozenset[RoleCode] | None = None


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """Change a user's data, status or roles. The change applies from the user's next request."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    commit: CommitAccessChange
    store: SessionStore
    throttle: LogInThrottle
    clock: Clock
    audit: RecordAudit

    async def __call__(
        self,
        caller: Caller,
        user_id: UserId,
        wanted: UserChange,
        *,
        expected: Versions | None = None,
    ) -> UserWithRoles:
        """Return the changed user.

        Raise `UserNotFound`, `OwnAccessChange`, `BeyondOwnAccess`, `LastAdministrator`, `UnknownRoles` or a conflict;
        `PreconditionFailed` if the user has none of the `expected` versions.
        """
        async with self.uow() as uow:
            caller, user, roles = await lock_manageable_user(uow, self.authorize, caller, user_id)
            check_version(user.updated_at, expected)
            before = audit_details(user, roles)
            if wanted.roles is not None:
                roles = await self._assign(uow, caller, user, roles, wanted.roles)
            await self._decide_administration(uow, caller, user, wanted)
            user.username = wanted.username or user.username
            user.email = wanted.email or user.email
            user.name = wanted.name or user.name
            changes = difference(before, audit_details(user, roles))
            if not changes:
                return UserWithRoles(user, roles)
            user.updated_at = next_version(user.updated_at, self.clock.now())
            if not user.is_active:
                user.end_sessions(at=user.updated_at)
            await uow.users.save(user)
            await self.audit(
                uow,
                "users.changed",
                caller.client,
                actor=caller.user_id,
                target=f"user:{user.id}",
                details=changes,
            )
            if not user.is_active:
                await self.store.end_all(user.id)
                await self.throttle.forget_devices(user.id)
            await self.commit(uow, [user.id])
        return UserWithRoles(user, roles)

    async def _assign(
        self,
        uow: UnitOfWork,
        caller: Caller,
        user: User,
        present: Sequence[Role],
        wanted: frozenset[RoleCode],
    ) -> Sequence[Role]:
        held = frozenset(role.code for role in present)
        if held == wanted:
            return present
        if user.id == caller.user_id:
            raise OwnAccessChange
        if wanted < held:
            roles: Sequence[Role] = [role for role in present if role.code in wanted]
        else:
            roles = await known_roles(uow, wanted)
        check_ceiling(caller.access, roles, already=present)
        await assign(uow, user.id, roles)
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
            await check_not_last_administrator(uow, user.id)
