"""The guard, the one way to change what somebody may do, and roles."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from application.paging import Page, PageRequest
from application.ports.access import AccessCache, AccessVersions, Change, RoleFilter
from application.ports.sessions import SessionStore, Tokens
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.caller import Caller, Origin
from application.use_cases.documents import RecordAudit
from domain.access import (
    Access,
    Grant,
    OwnAccess,
    PermissionDenied,
    Role,
    RoleCode,
    RoleId,
    RoleInUse,
    RoleNotFound,
    RoleStatus,
    UnknownPermissions,
    check_ceiling,
)
from domain.errors import Unavailable
from domain.identity import PasswordChangeRequired, User, UserId
from domain.sessions import InvalidToken, SessionId


@dataclass(slots=True)
class Guard:
    """Find out who makes a request, and whether they may. One per process.

    A warm request costs one look at the versions and no SQL. What this process remembers of a user counts
    only under the version that the look returned, so a change is in force at the next request everywhere:
    `AccessVersions` says why.
    """

    uow: UnitOfWorkFactory
    tokens: Tokens
    store: SessionStore
    versions: AccessVersions
    cache: AccessCache
    most_remembered: int = 10_000
    _remembered: OrderedDict[UserId, tuple[str, Access]] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    async def __call__(
        self,
        access_token: str,
        origin: Origin,
        *,
        permission: str | None = None,
        password_may_be_due: bool = False,
    ) -> Caller:
        """Return the caller of a route that needs `permission`, or none but a session.

        Raise `InvalidToken` unless the token is ours, its session lives and its user is active,
        `PasswordChangeRequired` if a one-time password is still in use, `PermissionDenied` if no active
        role of the user gives the permission.
        """
        claims = self.tokens.verify_access(access_token)
        access = await self._access(claims.user_id, claims.session_id)
        if access.must_change_password and not password_may_be_due:
            raise PasswordChangeRequired
        if permission is not None and not access.allows(permission):
            raise PermissionDenied(permission)
        return Caller(
            user_id=claims.user_id, session_id=claims.session_id, access=access, origin=origin
        )

    async def with_refresh_token(self, refresh_token: str, origin: Origin) -> Caller:
        """Return whose refresh token it is, without using it up.

        Raise `InvalidToken` unless it is the one that its living session would rotate next, and its user is active.
        """
        claims = self.tokens.verify_refresh(refresh_token)
        session = await self.store.find(claims.user_id, claims.session_id)
        if session is None or session.token_id != claims.token_id:
            raise InvalidToken("it has a successor, or its session is over")
        access = await self._access(claims.user_id, claims.session_id)
        return Caller(
            user_id=claims.user_id, session_id=claims.session_id, access=access, origin=origin
        )

    async def _access(self, user_id: UserId, session_id: SessionId) -> Access:
        standing = await self.versions.look(user_id, session_id)
        if not standing.session_alive:
            raise InvalidToken("its session is over")
        if standing.settled:
            access = await self._recall(user_id, standing.version)
        else:
            access = await self._read(user_id)
        if access is None or not access.is_active:
            raise InvalidToken("the user is disabled or gone")
        return access

    async def _recall(self, user_id: UserId, version: str) -> Access | None:
        remembered_version, access = self._remembered.get(user_id, ("", None))
        if access is not None and remembered_version == version:
            self._remembered.move_to_end(user_id)
            return access
        access = await self.cache.get(user_id, version)
        if access is None:
            access = await self._read(user_id)
            if access is None:
                return None
            with suppress(Unavailable):  # too full to be written, say; this process knows now
                await self.cache.put(user_id, version, access)
        self._remembered[user_id] = version, access
        self._remembered.move_to_end(user_id)
        if len(self._remembered) > self.most_remembered:
            self._remembered.popitem(last=False)
        return access

    async def _read(self, user_id: UserId) -> Access | None:
        async with self.uow() as uow:
            return await uow.roles.access_of(user_id)


@dataclass(frozen=True, slots=True)
class ChangeAccess:
    """The one way to change what somebody may do.

    Every writer of roles, of who has them, and of a user's status goes through here. A crash between any
    two steps leaves the users unsettled for a while: slower for them, never stale.
    """

    uow: UnitOfWorkFactory
    versions: AccessVersions
    ids: IdGenerator

    @asynccontextmanager
    async def __call__(
        self, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> AsyncGenerator[UnitOfWork, None]:
        """Give a unit of work, and commit it at the end of the block unless that raises."""
        change = Change(id=self.ids.new(), user_ids=tuple(user_ids), everyone=everyone)
        await self.versions.begin(change)
        undecided = False
        try:
            async with self.uow() as uow:
                yield uow
                await self.versions.hold(change)
                undecided = True
                await uow.commit()
                undecided = False
        finally:
            # A commit that was not heard of may still come, so it stays under way until that is out of the question.
            if not undecided:
                await asyncio.shield(self._finish(change))

    async def _finish(self, change: Change) -> None:
        with suppress(Unavailable):  # the change is decided, and settles by itself
            await self.versions.finish(change)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDraft:
    """What a role shall be."""

    code: RoleCode
    name: str
    description: str = ""
    status: RoleStatus = RoleStatus.ACTIVE
    grants: frozenset[Grant] = frozenset()
    buttons: frozenset[str] = frozenset()
    routers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CreateRole:
    """Make a role that gives nothing the caller does not hold."""

    uow: UnitOfWorkFactory
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit

    async def __call__(self, caller: Caller, draft: RoleDraft) -> Role:
        """Raise `UnknownPermissions`, `BeyondOwnAccess`, `RoleNameTaken` or `RoleCodeTaken`."""
        now = self.clock.now()
        role = Role(
            id=RoleId(self.ids.new()),
            code=draft.code,
            name=draft.name,
            description=draft.description,
            status=draft.status,
            grants=draft.grants,
            buttons=draft.buttons,
            routers=draft.routers,
            created_at=now,
            updated_at=now,
        )
        async with self.uow() as uow:
            await _check_known(uow, draft.grants)
            check_ceiling(caller.access, draft.grants)
            await uow.roles.add(role)
            await self.audit(
                uow,
                "roles.created",
                caller.origin,
                actor=caller.user_id,
                target=f"role:{role.id}",
                details=_facts(role),
            )
            await uow.commit()
        return role


@dataclass(frozen=True, slots=True)
class ReplaceRole:
    """Make a role what the draft says; in force at the next request of everybody who has it."""

    change: ChangeAccess
    clock: Clock
    audit: RecordAudit

    async def __call__(self, caller: Caller, role_id: RoleId, draft: RoleDraft) -> Role:
        """Raise `RoleNotFound`, `OwnAccess`, or what `CreateRole` raises."""
        async with self.change(everyone=True) as uow:
            (role,) = await uow.roles.lock([role_id])
            await _check_not_own(uow, caller, [role_id])
            before = _facts(role)
            # What the role gives, or would give if enabled, too: whoever takes power from others could
            # first strip them of what protects them from somebody who may do less.
            check_ceiling(caller.access, role.grants | draft.grants)
            await _check_known(uow, draft.grants - role.grants)
            role = Role(
                id=role.id,
                code=draft.code,
                name=draft.name,
                description=draft.description,
                status=draft.status,
                grants=draft.grants,
                buttons=draft.buttons,
                routers=draft.routers,
                created_at=role.created_at,
                updated_at=self.clock.now(),
            )
            await uow.roles.save(role)
            await self.audit(
                uow,
                "roles.replaced",
                caller.origin,
                actor=caller.user_id,
                target=f"role:{role.id}",
                details=_difference(before, _facts(role)),
            )
        return role


@dataclass(frozen=True, slots=True)
class DeleteRoles:
    """Remove roles, all of them or none."""

    change: ChangeAccess
    audit: RecordAudit

    async def __call__(self, caller: Caller, role_ids: Collection[RoleId], *, force: bool) -> int:
        """Return how many; raise `RoleNotFound`, `OwnAccess`, `BeyondOwnAccess`, or `RoleInUse` unless `force`."""
        wanted = set(role_ids)
        async with self.change(everyone=True) as uow:
            roles = await uow.roles.lock(wanted)
            await _check_not_own(uow, caller, wanted)
            check_ceiling(caller.access, {grant for role in roles for grant in role.grants})
            holders = await uow.roles.holders(wanted)
            for role in roles:
                if holders.get(role.id, 0) and not force:
                    raise RoleInUse(role.code, holders[role.id])
            await uow.roles.delete(wanted)
            for role in roles:
                await self.audit(
                    uow,
                    "roles.deleted",
                    caller.origin,
                    actor=caller.user_id,
                    target=f"role:{role.id}",
                    details={**_facts(role), "holders": holders.get(role.id, 0)},
                )
        return len(roles)


@dataclass(frozen=True, slots=True)
class GetRole:
    """Show one role."""

    uow: UnitOfWorkFactory

    async def __call__(self, role_id: RoleId) -> Role:
        async with self.uow() as uow:
            role = await uow.roles.find(role_id)
        if role is None:
            raise RoleNotFound(role_id)
        return role


@dataclass(frozen=True, slots=True)
class ListRoles:
    """Show one page of the roles that a filter finds."""

    uow: UnitOfWorkFactory

    async def __call__(self, which: RoleFilter, page: PageRequest) -> Page[Role]:
        async with self.uow() as uow:
            return await uow.roles.page(which, page)


@dataclass(frozen=True, slots=True)
class ListAllRoles:
    """Show every role, for a form to choose from."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> Sequence[Role]:
        async with self.uow() as uow:
            return await uow.roles.all()


@dataclass(frozen=True, slots=True)
class ListOwnRoles:
    """Show the caller which roles they have, disabled ones too."""

    uow: UnitOfWorkFactory

    async def __call__(self, caller: Caller) -> Sequence[Role]:
        async with self.uow() as uow:
            return (await uow.roles.of_users([caller.user_id])).get(caller.user_id, ())


@dataclass(frozen=True, slots=True)
class ListRoleUsers:
    """Show one page of who has a role."""

    uow: UnitOfWorkFactory

    async def __call__(
        self, role_id: RoleId, page: PageRequest
    ) -> tuple[Page[User], Mapping[UserId, Sequence[Role]]]:
        """Return the users, and the roles of each; raise `RoleNotFound`."""
        async with self.uow() as uow:
            if await uow.roles.find(role_id) is None:
                raise RoleNotFound(role_id)
            users = await uow.roles.users_with(role_id, page)
            return users, await uow.roles.of_users([user.id for user in users.records])


async def _check_known(uow: UnitOfWork, grants: Collection[Grant]) -> None:
    unknown = await uow.permissions.missing([g.value for g in grants if not g.is_pattern])
    if unknown:
        raise UnknownPermissions(unknown)


async def _check_not_own(uow: UnitOfWork, caller: Caller, role_ids: Collection[RoleId]) -> None:
    own = (await uow.roles.of_users([caller.user_id])).get(caller.user_id, ())
    if any(role.id in role_ids for role in own):
        raise OwnAccess


def _facts(role: Role) -> dict[str, object]:
    return {
        "code": role.code.value,
        "name": role.name,
        "description": role.description,
        "status": role.status.value,
        "permissions": sorted(g.value for g in role.grants),
        "buttonPermissions": sorted(role.buttons),
        "routerPermissions": sorted(role.routers),
    }


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    return {
        key: {"from": before[key], "to": after[key]} for key in after if before[key] != after[key]
    }
