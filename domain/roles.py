"""Roles: what they give, their limits, and the errors about them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import ClassVar, NewType
from uuid import UUID

from domain.errors import Conflict, Invalid, NotFound
from domain.grants import Grant, Grants
from domain.text import casefold_key, nfc_stripped, problem_with

RoleId = NewType("RoleId", UUID)


class RoleStatus(StrEnum):
    """Whether a role grants its permissions."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class RoleCode:
    """The short name of a role: 2 to 64 of `A-Z a-z 0-9 . _ -`, a letter first.

    Case is kept, but ignored in comparisons.
    """

    LENGTH: ClassVar = (2, 64)

    value: str = field(compare=False)
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{1,63}", self.value):
            raise InvalidRole(
                "code", "must have 2 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', a letter first"
            )
        object.__setattr__(self, "key", self.value.lower())


class RoleText(Enum):
    """The text fields of a role, with their limits of characters."""

    NAME = "name", (2, 100)
    DESCRIPTION = "description", (0, 500)
    BUTTON = "button_permissions", (1, 200)
    ROUTER = "router_permissions", (1, 200)

    def parse(self, text: str) -> str:
        """Return the normalised text; raise `InvalidRole`."""
        field, length = self.value
        if self is RoleText.NAME:
            text = nfc_stripped(text)
        if self is RoleText.DESCRIPTION:
            text = text.strip()
        line = text.replace("\n", " ") if self is RoleText.DESCRIPTION else text
        problem = problem_with(line, *length)
        if problem is not None:
            raise InvalidRole(field, problem)
        return text

    @property
    def length(self) -> tuple[int, int]:
        """The smallest and the largest number of characters."""
        return self.value[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """The number of permissions of a role, or of all roles of a user; duplicates count twice."""

    patterns: int = 0
    codes: int = 0
    buttons: int = 0
    routers: int = 0

    def beyond(self, limits: "Amount") -> str | None:
        """Return a text that says which of the `limits` is exceeded, or None."""
        for name in ("patterns", "codes", "buttons", "routers"):
            if getattr(self, name) > getattr(limits, name):
                return f"{getattr(self, name)} {name}, and {getattr(limits, name)} is the most"
        return None


# Every process compares, caches and sends permissions, so their number is bounded.
ROLE_LIMITS = Amount(patterns=50, codes=1000, buttons=1000, routers=1000)
USER_LIMITS = Amount(patterns=200, codes=10_000, buttons=2000, routers=2000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSummary:
    """A role without its permissions, for lists."""

    id: RoleId
    code: RoleCode
    name: str
    description: str
    status: RoleStatus
    created_at: datetime
    updated_at: datetime

    @property
    def name_key(self) -> str:
        """The form in which names are compared."""
        return casefold_key(self.name)


@dataclass(slots=True, kw_only=True)
class Role:
    """A named set of grants. `buttons` and `routers` are opaque strings for front ends."""

    id: RoleId
    code: RoleCode
    name: str
    description: str = ""
    status: RoleStatus = RoleStatus.ACTIVE
    grants: frozenset[Grant] = frozenset()
    buttons: frozenset[str] = frozenset()
    routers: frozenset[str] = frozenset()
    created_at: datetime
    updated_at: datetime

    def __post_init__(self) -> None:
        self.name = RoleText.NAME.parse(self.name)
        self.description = RoleText.DESCRIPTION.parse(self.description)
        self.buttons = frozenset(map(RoleText.BUTTON.parse, self.buttons))
        self.routers = frozenset(map(RoleText.ROUTER.parse, self.routers))

    @property
    def name_key(self) -> str:
        """The form in which names are compared."""
        return casefold_key(self.name)

    @property
    def is_active(self) -> bool:
        """Whether this role grants anything."""
        return self.status is RoleStatus.ACTIVE

    @property
    def amount(self) -> Amount:
        """The number of permissions of this role."""
        patterns = sum(grant.is_pattern for grant in self.grants)
        return Amount(
            patterns=patterns,
            codes=len(self.grants) - patterns,
            buttons=len(self.buttons),
            routers=len(self.routers),
        )

    def summary(self) -> RoleSummary:
        """Return this role without its permissions."""
        return RoleSummary(
            id=self.id,
            code=self.code,
            name=self.name,
            description=self.description,
            status=self.status,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


def grants_of(roles: Iterable[Role]) -> Grants:
    """Return the permissions of these roles together; a disabled role grants nothing."""
    return Grants.of(*permissions_of(role for role in roles if role.is_active))


def permissions_of(roles: Iterable[Role]) -> tuple[set[Grant], set[str], set[str]]:
    """Return the grants, buttons and routers of these roles together, enabled or not."""
    grants, buttons, routers = set[Grant](), set[str](), set[str]()
    for role in roles:
        grants |= role.grants
        buttons |= role.buttons
        routers |= role.routers
    return grants, buttons, routers


def check_amount(role: Role) -> None:
    """Raise `TooMuchAccess` if the role exceeds the limits of one role."""
    beyond = role.amount.beyond(ROLE_LIMITS)
    if beyond is not None:
        raise TooMuchAccess(f"The role {role.code.value}", beyond, field="permissions")


class InvalidRole(Invalid):
    """A field of a role breaks a rule."""

    code = "access.invalid_role"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The role's {name.replace('_', ' ')} {problem}", field=name)


class TooMuchAccess(Invalid):
    """A role, or all roles of a user together, exceed the limits of permissions."""

    code = "access.too_much_access"

    def __init__(self, whose: str, beyond: str, *, field: str) -> None:
        super().__init__(f"{whose} would give {beyond}", field=field)


class UnknownRoles(Invalid):
    """Role codes that no role has."""

    code = "access.unknown_roles"

    def __init__(self, unknown: Iterable[str]) -> None:
        self.unknown = tuple(sorted(unknown))
        super().__init__(f"There is no role {', '.join(self.unknown)}", field="roles")


class RoleNotFound(NotFound):
    """There is no such role."""

    code = "access.role_not_found"

    def __init__(self, *role_ids: RoleId) -> None:
        super().__init__(f"There is no role {', '.join(str(role_id) for role_id in role_ids)}")
        self.role_ids = role_ids


class RoleNameTaken(Conflict):
    """Another role has this name; case is ignored."""

    code = "access.role_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a role named {name} already")


class RoleCodeTaken(Conflict):
    """Another role has this code; case is ignored."""

    code = "access.role_code_taken"

    def __init__(self, code: RoleCode) -> None:
        super().__init__(f"There is a role with the code {code.value} already")


class RoleInUse(Conflict):
    """Users have the role; `force` deletes it all the same."""

    code = "access.role_in_use"

    def __init__(self, code: RoleCode, users: int) -> None:
        super().__init__(
            f"{users} users have the role {code.value}; delete it with force to take it from them"
        )
        self.users = users
