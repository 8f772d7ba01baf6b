"""Which users a caller may manage, which roles they may assign, and the audit details of it."""

from collections.abc import Collection, Sequence

from application.ports.unit_of_work import UnitOfWork
from application.use_cases.access.guard import Authorize
from application.use_cases.caller import Caller
from domain.access import BeyondOwnAccess, LastAdministrator, check_ceiling
from domain.identity import User, UserId, UserNotFound
from domain.roles import USER_LIMITS, Role, RoleCode, RoleNotFound, TooMuchAccess, UnknownRoles


async def get_manageable_user(
    uow: UnitOfWork, caller: Caller, user_id: UserId
) -> tuple[User, Sequence[Role]]:
    """Return a user and their roles; raise `UserNotFound`, or `BeyondOwnAccess` if they have more access."""
    user = await uow.users.find(user_id)
    if user is None:
        raise UserNotFound(user_id)
    return user, await _roles_if_manageable(uow, caller, user)


async def lock_manageable_user(
    uow: UnitOfWork, authorize: Authorize, caller: Caller, user_id: UserId
) -> tuple[Caller, User, Sequence[Role]]:
    """Lock a user who has no more access than the caller: who resets a password can log in with it.

    Return the caller with current access, the user and their roles; raise as
    `get_manageable_user` and `Authorize` do.
    """
    await uow.roles.lock_access(to_change=True)
    user = await uow.users.lock(user_id)
    caller = await authorize(uow, caller)
    return caller, user, await _roles_if_manageable(uow, caller, user)


async def _roles_if_manageable(uow: UnitOfWork, caller: Caller, user: User) -> Sequence[Role]:
    roles = (await uow.roles.of_users([user.id])).get(user.id, ())
    if user.id != caller.user_id:
        if user.is_admin and not caller.access.is_admin:
            raise BeyondOwnAccess(["administration"])
        # Disabled roles count: a session opened now gets their permissions when they are enabled again.
        check_ceiling(caller.access, roles)
    return roles


async def check_not_last_administrator(uow: UnitOfWork, user_id: UserId) -> None:
    """Raise `LastAdministrator` unless there is another active administrator."""
    if not await uow.users.has_active_administrator(other_than=user_id):
        raise LastAdministrator(user_id)


async def known_roles(uow: UnitOfWork, codes: Collection[RoleCode]) -> Sequence[Role]:
    """Return the roles with these codes; raise `UnknownRoles`, or `TooMuchAccess` beyond the limits of a user."""
    # Before the roles are read, so that no request makes us read more than the limit.
    beyond = (await uow.roles.amount_of(codes)).beyond(USER_LIMITS)
    if beyond is not None:
        raise TooMuchAccess("These roles", beyond, field="roles")
    roles = await uow.roles.by_codes(codes)
    unknown = {code.value for code in set(codes) - {role.code for role in roles}}
    if unknown:
        raise UnknownRoles(unknown)
    return roles


async def assign(uow: UnitOfWork, user_id: UserId, roles: Collection[Role]) -> None:
    """Set the roles of a locked or new user; raise `UnknownRoles` if one was deleted meanwhile."""
    try:
        await uow.roles.assign(user_id, [role.id for role in roles])
    except RoleNotFound as error:  # deleted since `known_roles`
        gone = {role.code.value for role in roles if role.id in error.role_ids}
        raise UnknownRoles(gone) from None


def audit_details(user: User, roles: Sequence[Role]) -> dict[str, object]:
    """Return the properties of a user that a change may affect, as audit details."""
    return {
        "username": user.username.value,
        "email": user.email.value,
        "name": user.name.value,
        "status": user.status.value,
        "isAdmin": user.is_admin,
        "roles": sorted(role.code.value for role in roles),
    }
