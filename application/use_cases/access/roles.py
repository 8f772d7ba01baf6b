"""Roles: create, replace, delete and list them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from application.paging import Page, PageRequest
from application.ports.roles import RoleFilter
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit, difference
from application.use_cases.caller import Caller
from domain.access import OwnAccessChange, UnknownPermissions, check_ceiling
from domain.grants import Grant
from domain.identity import User, UserId
from domain.roles import (
    USER_LIMITS,
    Role,
    RoleCode,
    RoleId,
    RoleInUse,
    RoleNotFound,
    RoleStatus,
    RoleSummary,
    TooMuchAccess,
    check_amount,
)
from domain.versions import Versions, check_version, next_version


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDraft:
    """All properties of a role to create or to replace."""

    code: RoleCode
    name: str
    description: str = ""
    status: RoleStatus = RoleStatus.ACTIVE
    grants: frozenset[Grant] = frozenset()
    buttons: frozenset[str] = frozenset()
    routers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CreateRole:
    """Create a role. It may grant only permissions that the caller has."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit

    async def __call__(self, caller: Caller, draft: RoleDraft) -> Role:
        """Raise `UnknownPermissions`, `BeyondOwnAccess`, `RoleNameTaken` or `RoleCodeTaken`."""
        now = self.clock.now()
        role = _drafted(draft, RoleId(self.ids.new()), created_at=now, updated_at=now)
        async with self.uow() as uow:
            await uow.roles.lock_access()
            caller = await self.authorize(uow, caller)
            check_amount(role)
            await _check_known(uow, role.grants)
            check_ceiling(caller.access, [role])
            await uow.roles.add(role)
            await self.audit(
                uow,
                "roles.created",
                caller.client,
                actor=caller.user_id,
                target=f"role:{role.id}",
                details=_audit_details(role),
            )
            await uow.commit()
        return role


@dataclass(frozen=True, slots=True)
class ReplaceRole:
    """Replace a role. The change applies from the next request of each user who has it."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    commit: CommitAccessChange
    clock: Clock
    audit: RecordAudit

    async def __call__(
        self,
        caller: Caller,
        role_id: RoleId,
        draft: RoleDraft,
        *,
        expected: Versions | None = None,
    ) -> Role:
        """Raise `RoleNotFound`, `PreconditionFailed`, `OwnAccessChange`, or what `CreateRole` raises."""
        async with self.uow() as uow:
            await uow.roles.lock_access(to_change=True)
            (present,) = await uow.roles.lock([role_id])
            caller = await self.authorize(uow, caller)
            check_version(present.updated_at, expected)
            await _check_not_own(uow, caller, [role_id])
            role = _drafted(
                draft,
                role_id,
                created_at=present.created_at,
                updated_at=next_version(present.updated_at, self.clock.now()),
            )
            check_amount(role)
            await _check_known(uow, role.grants - present.grants)
            # The old permissions count too, even of a disabled role: otherwise a caller could first remove the
            # permissions that protect a user, and then manage that user.
            check_ceiling(caller.access, [present, role])
            changes = _changes(present, role)
            if not changes:
                return present
            await uow.roles.save(role)
            if role.amount.beyond(present.amount) is not None:
                await _check_holders(uow, role)
            await self.audit(
                uow,
                "roles.replaced",
                caller.client,
                actor=caller.user_id,
                target=f"role:{role.id}",
                details=changes,
            )
            await self.commit(uow, everyone=True)
        return role


@dataclass(frozen=True, slots=True)
class DeleteRoles:
    """Delete roles: either all of them or none."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    commit: CommitAccessChange
    audit: RecordAudit

    async def __call__(
        self,
        caller: Caller,
        role_ids: Collection[RoleId],
        *,
        force: bool,
        expected: Versions | None = None,
    ) -> int:
        """Return how many; raise `RoleNotFound`, `PreconditionFailed`, `OwnAccessChange` or `BeyondOwnAccess`.

        Raise `RoleInUse` unless `force`.
        """
        wanted = set(role_ids)
        async with self.uow() as uow:
            await uow.roles.lock_access(to_change=True)
            roles = await uow.roles.lock(wanted)
            caller = await self.authorize(uow, caller)
            for role in roles:
                check_version(role.updated_at, expected)
            await _check_not_own(uow, caller, wanted)
            check_ceiling(caller.access, roles)
            user_counts = await uow.roles.count_users(wanted)
            for role in roles:
                if user_counts.get(role.id, 0) and not force:
                    raise RoleInUse(role.code, user_counts[role.id])
            await uow.roles.delete(wanted)
            for role in roles:
                await self.audit(
                    uow,
                    "roles.deleted",
                    caller.client,
                    actor=caller.user_id,
                    target=f"role:{role.id}",
                    details={**_audit_details(role), "holders": user_counts.get(role.id, 0)},
                )
            await self.commit(uow, everyone=True)
        return len(roles)


@dataclass(frozen=True, slots=True)
class GetRole:
    """Get one role."""

    uow: UnitOfWorkFactory

    async def __call__(self, role_id: RoleId) -> Role:
        async with self.uow() as uow:
            role = await uow.roles.find(role_id)
        if role is None:
            raise RoleNotFound(role_id)
        return role


@dataclass(frozen=True, slots=True)
class ListRoles:
    """List one page of the roles that match a filter."""

    uow: UnitOfWorkFactory

    async def __call__(self, criteria: RoleFilter, page: PageRequest) -> Page[RoleSummary]:
        async with self.uow() as uow:
            return await uow.roles.page(criteria, page)


@dataclass(frozen=True, slots=True)
class ListAllRoles:
    """List all roles, for selection lists."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> Sequence[RoleSummary]:
        async with self.uow() as uow:
            return await uow.roles.all()


@dataclass(frozen=True, slots=True)
class ListOwnRoles:
    """List the roles of the caller, including disabled ones."""

    uow: UnitOfWorkFactory

    async def __call__(self, caller: Caller) -> Sequence[RoleSummary]:
        async with self.uow() as uow:
            return (await uow.roles.summaries_of([caller.user_id])).get(caller.user_id, ())


@dataclass(frozen=True, slots=True)
class ListRoleUsers:
    """List one page of the users who have a role."""

    uow: UnitOfWorkFactory

    async def __call__(
        self, role_id: RoleId, page: PageRequest
    ) -> tuple[Page[User], Mapping[UserId, Sequence[RoleSummary]]]:
        """Return the users, and the roles of each; raise `RoleNotFound`."""
        async with self.uow() as uow:
            if await uow.roles.find(role_id) is None:
                raise RoleNotFound(role_id)
            users = await uow.roles.users_with(role_id, page)
            return users, await uow.roles.summaries_of([user.id for user in users.records])


def _drafted(
    draft: RoleDraft, role_id: RoleId, *, created_at: datetime, updated_at: datetime
) -> Role:
    return Role(
        id=role_id,
        code=draft.code,
        name=draft.name,
        description=draft.description,
        status=draft.status,
        grants=draft.grants,
        buttons=draft.buttons,
        routers=draft.routers,
        created_at=created_at,
        updated_at=updated_at,
    )


async def _check_known(uow: UnitOfWork, grants: Collection[Grant]) -> None:
    unknown = await uow.permissions.missing([g.value for g in grants if not g.is_pattern])
    if unknown:
        raise UnknownPermissions(unknown)


async def _check_not_own(uow: UnitOfWork, caller: Caller, role_ids: Collection[RoleId]) -> None:
    own = (await uow.roles.summaries_of([caller.user_id])).get(caller.user_id, ())
    if any(role.id in role_ids for role in own):
        raise OwnAccessChange


async def _check_holders(uow: UnitOfWork, role: Role) -> None:
    beyond = (await uow.roles.largest_amount_with(role.id)).beyond(USER_LIMITS)
    if beyond is not None:
        raise TooMuchAccess("All roles of somebody who has this one", beyond, field="permissions")


def _changes(before: Role, after: Role) -> dict[str, object]:
    """Return the changed values as audit details; for permissions, those added and removed."""
    old, new = _audit_details(before), _audit_details(after)
    changes = difference(old, new)
    for name, was, is_now in (
        ("permissions", {g.value for g in before.grants}, {g.value for g in after.grants}),
        ("buttonPermissions", before.buttons, after.buttons),
        ("routerPermissions", before.routers, after.routers),
    ):
        if name in changes:
            changes[name] = {"added": sorted(is_now - was), "removed": sorted(was - is_now)}
    return changes


def _audit_details(role: Role) -> dict[str, object]:
    return {
        "code": role.code.value,
        "name": role.name,
        "description": role.description,
        "status": role.status.value,
        "permissions": sorted(g.value for g in role.grants),
        "buttonPermissions": sorted(role.buttons),
        "routerPermissions": sorted(role.routers),
    }
