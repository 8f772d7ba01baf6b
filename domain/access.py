"""Access: permission codes, roles, and the rules of granting."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from functools import lru_cache
from typing import ClassVar, NewType
from uuid import UUID

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.identity import UserId
from domain.text import casefold_key, nfc_stripped, problem_with

RoleId = NewType("RoleId", UUID)

# `{}` because a code holds a path template; `*` only makes sense in patterns.
_EXACT = re.compile(r"[A-Z]{3,10}:[A-Za-z0-9/._~{}:@!$&'()+,;=%-]{1,256}")
_SEGMENT = r"/(?:[A-Za-z0-9._~{}:@!$&'()+,;=%-]+|\*)"
_PATTERN = re.compile(
    rf"(?:[A-Z]{{3,10}}|\*):(?:\*\*|(?:{_SEGMENT}){{1,16}}|(?:{_SEGMENT}){{0,15}}/\*\*)"
)


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
    """One entry of a role: an exact permission code, or a pattern such as `*:/api/v1/roles/**` or `GET:**`.

    In a pattern `*` matches one method or one segment of the path, and `**`, at its end, any number of segments,
    including none. A pattern has at most 16 segments.
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
        """Whether this is a pattern."""
        return "*" in self.value


def stored_grants(texts: Iterable[str]) -> Iterator[Grant]:
    """Yield the valid entries of a stored role; an entry that current rules refuse grants nothing."""
    for text in texts:
        with suppress(InvalidGrant):
            yield Grant(text)


@dataclass(frozen=True, slots=True)
class Grants:
    """The compiled permissions of one user: a set of exact codes, and a tree of patterns.

    `buttons` and `routers` open no route; they are part of the ceiling of what the user can grant.
    """

    exact: frozenset[str] = frozenset()
    patterns: tuple[Grant, ...] = ()
    buttons: frozenset[str] = frozenset()
    routers: frozenset[str] = frozenset()
    _tree: "_Prefix" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tree = _Prefix()
        for pattern in self.patterns:
            tree.add(_words(pattern.value))
        object.__setattr__(self, "_tree", tree)

    @classmethod
    def of(
        cls, grants: Iterable[Grant], buttons: Iterable[str] = (), routers: Iterable[str] = ()
    ) -> "Grants":
        """Compile the entries of any number of roles."""
        return _compiled(frozenset(grants), frozenset(buttons), frozenset(routers))

    def allow(self, code: str) -> bool:
        """Return whether one of these grants covers `code`, an exact code or a pattern.

        Time is linear in the length of `code`, and bounded by the number of patterns with the same beginning.
        """
        return code in self.exact or self._tree.covers(_words(code))


class _Prefix:
    """A node of the pattern tree. The method is the first word of a pattern, then come its segments."""

    __slots__ = ("ends", "is_open", "longer")

    def __init__(self) -> None:
        self.longer: dict[str, _Prefix] = {}
        self.ends = False
        """A pattern ends here."""
        self.is_open = False
        """A pattern goes on with `**`."""

    def add(self, words: Iterable[str]) -> None:
        """Add a pattern."""
        prefix = self
        for word in words:
            if word == "**":
                prefix.is_open = True
                return
            prefix = prefix.longer.setdefault(word, _Prefix())
        prefix.ends = True

    def covers(self, words: Iterable[str]) -> bool:
        """Return whether a pattern covers these words. A `*` among them is covered only by `*` and `**`."""
        reached = [self]
        for word in words:
            if any(prefix.is_open for prefix in reached):
                return True
            if word == "**":
                return False
            reached = [
                prefix.longer[step]
                for prefix in reached
                for step in {word, "*"}
                if step in prefix.longer
            ]
            if not reached:
                return False
        return any(prefix.ends or prefix.is_open for prefix in reached)


def _words(code: str) -> list[str]:
    method, path = code.split(":", 1)
    return [method, *path.removeprefix("/").split("/")]


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
    """The access of a user: their status, and the permissions of their active roles."""

    is_active: bool
    is_admin: bool
    must_change_password: bool
    grants: Grants

    def allows(self, code: str) -> bool:
        """Return whether the user has the permission `code`; administrators have all."""
        return self.is_admin or self.grants.allow(code)


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


class TooMuchAccess(Invalid):
    """A role, or all roles of a user together, exceed the limits of permissions."""

    code = "access.too_much_access"

    def __init__(self, whose: str, beyond: str, *, field: str) -> None:
        super().__init__(f"{whose} would give {beyond}", field=field)


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


def check_ceiling(caller: Access, wanted: Iterable[Role], *, already: Iterable[Role] = ()) -> None:
    """Raise `BeyondOwnAccess` if the `wanted` roles, enabled or not, grant more than the caller has.

    This covers permissions, buttons and routers. Whatever `already` granted may stay.
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


def check_amount(role: Role) -> None:
    """Raise `TooMuchAccess` if the role exceeds the limits of one role."""
    beyond = role.amount.beyond(ROLE_LIMITS)
    if beyond is not None:
        raise TooMuchAccess(f"The role {role.code.value}", beyond, field="permissions")
