"""Access: what a user may do, and the rules of granting it to others."""

from collections.abc import Iterable
from dataclasses import dataclass

from domain.errors import Conflict, Forbidden, Invalid
from domain.grants import Grants
from domain.identity import UserId
from domain.roles import Role, permissions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The access of a user: their status, and the permissions of their active roles."""

    is_active: bool
    is_admin: bool
    must_change_password: bool
    grants: Grants

    def allows(self, code: str) -> bool:
        """Return whether the user has the permission `code`; administrators have all."""
        return self.is_admin or self.grants.allow(code)


def check_ceiling(caller: Access, wanted: Iterable[Role], *, already: Iterable[Role] = ()) -> None:
    """Raise `BeyondOwnAccess` if the `wanted` roles, enabled or not, grant more than the caller has.

    This covers permissions, buttons and routers. Grants of the roles in `already` may stay.
    """
    if caller.is_admin:
        return
    held = caller.grants
    grants, buttons, routers = permissions_of(wanted)
    old_grants, old_buttons, old_routers = permissions_of(already)
    beyond = [
        *(grant.value for grant in grants - old_grants if not held.allow(grant.value)),
        *(f"button {button}" for button in buttons - old_buttons - held.buttons),
        *(f"router {router}" for router in routers - old_routers - held.routers),
    ]
    if beyond:
        raise BeyondOwnAccess(beyond)


class UnknownPermissions(Invalid):
    """Exact codes that no route has."""

    code = "access.unknown_permissions"

    def __init__(self, unknown: Iterable[str]) -> None:
        self.unknown = tuple(sorted(unknown))
        super().__init__(f"No route has the code {', '.join(self.unknown)}", field="permissions")


class PermissionDenied(Forbidden):
    """The caller's roles do not grant this permission."""

    code = "access.permission_denied"

    def __init__(self, permission: str, user_id: UserId) -> None:
        super().__init__(f"This needs the permission {permission}")
        self.permission = permission
        self.user_id = user_id


class BeyondOwnAccess(Forbidden):
    """Callers cannot grant permissions that they do not have."""

    code = "access.beyond_own_access"

    def __init__(self, beyond: Iterable[str]) -> None:
        self.beyond = tuple(sorted(beyond))
        super().__init__(
            f"You do not hold {', '.join(self.beyond)} yourself, so you cannot give it"
        )


class OwnAccessChange(Forbidden):
    """Callers cannot change their own roles, or a role that they have."""

    code = "access.own_access"

    def __init__(self) -> None:
        super().__init__("You cannot change your own access; ask another administrator")


class LastAdministrator(Conflict):
    """At least one active administrator must remain."""

    code = "access.last_administrator"

    def __init__(self, user_id: UserId) -> None:
        super().__init__("This is the last active administrator; make another one first")
        self.user_id = user_id
