"""Access: permission codes, roles, and who may grant what."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from functools import lru_cache
from typing import ClassVar, NewType
from uuid import UUID

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.identity import UserId
from domain.text import fold, problem_with, tidy

RoleId = NewType("RoleId", UUID)

# `{}` because a code holds a path template; `*` only makes sense in patterns.
_EXACT = re.compile(r"[A-Z]{3,10}:[A-Za-z0-9/._~{}:@!$&'()+,;=%-]{1,256}")
_PATTERN = re.compile(r"(?:[A-Z]{3,10}|\*):(?:\*\*|(?:/[A-Za-z0-9._~{}:@!$&'()+,;=%-]+|/\*\*?)+)")


@dataclass(frozen=True, slots=True, order=True)
class PermissionCode:
    """`METHOD:/path/template`, for example `GET:/api/v1/users/{user_id}`; derived from a route, never typed."""

    value: str

    def __post_init__(self) -> None:
        if not _EXACT.fullmatch(self.value):
            raise InvalidGrant(self.value)

    @classmethod
    def of(cls, method: str, path: str) -> "PermissionCode":
        """Return the code of a route; HEAD is GET without a body, so it needs no permission of its own."""
        return cls(f"{'GET' if method == 'HEAD' else method}:{path}")


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """What a role gives: an exact permission code, or a pattern such as `*:/api/v1/roles/**` or `GET:**`.

    In a pattern `*` stands for one method or one segment of the path, and `**` for any number of segments,
    none included.
    """

    LENGTH: ClassVar = (4, 300)

    value: str

    def __post_init__(self) -> None:
        if len(self.value) > self.LENGTH[1] or not (
            _EXACT.fullmatch(self.value) or _PATTERN.fullmatch(self.value)
        ):
            raise InvalidGrant(self.value)

    @property
    def is_pattern(self) -> bool:
        """Whether this stands for more than one code."""
        return "*" in self.value

    def covers(self, other: str) -> bool:
        """Tell whether everything that `other`, a code or a pattern, allows is allowed by this.

        Exact for codes. Of two patterns that say the same in different words it may find that neither covers the other.
        """
        if not self.is_pattern:
            return self.value == other
        method, path = self.value.split(":", 1)
        other_method, other_path = other.split(":", 1)
        return method in {"*", other_method} and _covers(_segments(path), _segments(other_path))


@lru_cache(maxsize=4096)
def _segments(path: str) -> tuple[str, ...]:
    return tuple(path.removeprefix("/").split("/"))


def _covers(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Match segment by segment; a `*` of `path` is any one segment, so only `*` and `**` cover it."""
    # One row of the usual table for globs: reached[i] says that pattern[:i] covers what was read.
    reached = [True] + [False] * len(pattern)
    for i, segment in enumerate(pattern):
        reached[i + 1] = reached[i] and segment == "**"
    for word in path:
        after = [False] * (len(pattern) + 1)
        for i, segment in enumerate(pattern):
            if segment == "**":
                after[i + 1] = reached[i + 1] or reached[i] or after[i]
            elif word != "**":
                after[i + 1] = reached[i] and segment in {"*", word}
        reached = after
    return reached[-1]


@dataclass(frozen=True, slots=True)
class Grants:
    """What one user may do, compiled: exact codes are looked up, and only patterns are tried in turn.

    `buttons` and `routers` open no route; they are here for the ceiling.
    """

    exact: frozenset[str] = frozenset()
    patterns: tuple[Grant, ...] = ()
    buttons: frozenset[str] = frozenset()
    routers: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, grants: Iterable[Grant], buttons: Iterable[str] = (), routers: Iterable[str] = ()
    ) -> "Grants":
        """Compile what any number of roles give."""
        return _compiled(frozenset(grants), frozenset(buttons), frozenset(routers))

    def allow(self, code: str) -> bool:
        """Tell whether `code`, an exact code or a pattern, is within these grants."""
        return code in self.exact or any(pattern.covers(code) for pattern in self.patterns)


@lru_cache(maxsize=1024)
def _compiled(grants: frozenset[Grant], buttons: frozenset[str], routers: frozenset[str]) -> Grants:
    """Return the same object for the same grants: many users have the same roles."""
    return Grants(
        exact=frozenset(grant.value for grant in grants if not grant.is_pattern),
        patterns=tuple(sorted(grant for grant in grants if grant.is_pattern)),
        buttons=buttons,
        routers=routers,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the guard knows of a user: whether they may act at all, and what their active roles give."""

    is_active: bool
    is_admin: bool
    must_change_password: bool
    grants: Grants

    def allows(self, code: str) -> bool:
        """Tell whether the user may use `code`; administrators may use all."""
        return self.is_admin or self.grants.allow(code)


class RoleStatus(StrEnum):
    """Whether a role grants anything."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class RoleCode:
    """The short name by which users hold a role: 2 to 64 of `a-z 0-9 . _ -`, a letter first."""

    LENGTH: ClassVar = (2, 64)

    value: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9._-]{1,63}", self.value):
            raise InvalidRole(
                "code", "must have 2 to 64 of a-z, 0-9, '.', '_' and '-', a letter first"
            )


class RoleText(Enum):
    """The texts of a role: the field, and how many characters it may have."""

    NAME = "name", (2, 100)
    DESCRIPTION = "description", (0, 500)
    BUTTON = "button_permissions", (1, 200)
    ROUTER = "router_permissions", (1, 200)

    def parse(self, text: str) -> str:
        """Return the text as a role holds it; raise `InvalidRole`."""
        field, length = self.value
        if self is RoleText.NAME:
            text = tidy(text)
        if self is RoleText.DESCRIPTION:
            text = text.strip()
        line = text.replace("\n", " ") if self is RoleText.DESCRIPTION else text
        problem = problem_with(line, *length)
        if problem is not None:
            raise InvalidRole(field, problem)
        return text

    @property
    def length(self) -> tuple[int, int]:
        """The least and the greatest number of characters."""
        return self.value[1]


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
        """The form in which two names are the same role's."""
        return fold(self.name)

    @property
    def is_active(self) -> bool:
        """Whether this role grants anything."""
        return self.status is RoleStatus.ACTIVE


def grants_of(roles: Iterable[Role]) -> Grants:
    """Return what these roles give together; a disabled role gives nothing."""
    return Grants.of(*_together(role for role in roles if role.is_active))


def _together(roles: Iterable[Role]) -> tuple[set[Grant], set[str], set[str]]:
    grants, buttons, routers = set[Grant](), set[str](), set[str]()
    for role in roles:
        grants |= role.grants
        buttons |= role.buttons
        routers |= role.routers
    return grants, buttons, routers


class InvalidGrant(Invalid):
    """The text is neither a permission code nor a pattern."""

    code = "access.invalid_grant"

    def __init__(self, value: str) -> None:
        super().__init__(
            "A permission is METHOD:/path, or a pattern such as *:/api/v1/roles/**",
            field="permissions",
        )
        self.value = value


class InvalidRole(Invalid):
    """A field of a role breaks a rule."""

    code = "access.invalid_role"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The role's {name.replace('_', ' ')} {problem}", field=name)


class UnknownPermissions(Invalid):
    """Exact codes that no route has."""

    code = "access.unknown_permissions"

    def __init__(self, unknown: Iterable[str]) -> None:
        self.unknown = tuple(sorted(unknown))
        super().__init__(f"No route has the code {', '.join(self.unknown)}", field="permissions")


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
    """Another role has this name, upper and lower case aside."""

    code = "access.role_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a role named {name} already")


class RoleCodeTaken(Conflict):
    """Another role has this code."""

    code = "access.role_code_taken"

    def __init__(self, code: RoleCode) -> None:
        super().__init__(f"There is a role with the code {code.value} already")


class RoleInUse(Conflict):
    """Users hold the role; `force` takes it from them."""

    code = "access.role_in_use"

    def __init__(self, code: RoleCode, users: int) -> None:
        super().__init__(
            f"{users} users have the role {code.value}; delete it with force to take it from them"
        )
        self.users = users


class PermissionDenied(Forbidden):
    """The caller's roles do not give this permission."""

    code = "access.permission_denied"

    def __init__(self, permission: str, user_id: UserId) -> None:
        super().__init__(f"This needs the permission {permission}")
        self.permission = permission
        self.user_id = user_id


class BeyondOwnAccess(Forbidden):
    """Nobody grants what they do not hold."""

    code = "access.beyond_own_access"

    def __init__(self, beyond: Iterable[str]) -> None:
        self.beyond = tuple(sorted(beyond))
        super().__init__(
            f"You do not hold {', '.join(self.beyond)} yourself, so you cannot give it"
        )


class OwnAccess(Forbidden):
    """Nobody edits their own roles, or a role that they have."""

    code = "access.own_access"

    def __init__(self) -> None:
        super().__init__("You cannot change your own access; ask another administrator")


class LastAdministrator(Conflict):
    """Somebody must be left who can administrate."""

    code = "access.last_administrator"

    def __init__(self, user_id: UserId) -> None:
        super().__init__("This is the last active administrator; make another one first")
        self.user_id = user_id


def check_ceiling(caller: Access, wanted: Iterable[Role], *, already: Iterable[Role] = ()) -> None:
    """Raise `BeyondOwnAccess` if `wanted`, enabled or not, give more than the caller holds.

    Permissions, buttons and routers alike. What `already` gave may stay.
    """
    if caller.is_admin:
        return
    held = caller.grants
    grants, buttons, routers = _together(wanted)
    old_grants, old_buttons, old_routers = _together(already)
    beyond = [
        *(grant.value for grant in grants - old_grants if not held.allow(grant.value)),
        *(f"button {button}" for button in buttons - old_buttons - held.buttons),
        *(f"router {router}" for router in routers - old_routers - held.routers),
    ]
    if beyond:
        raise BeyondOwnAccess(beyond)
