"""Permission codes, the patterns that cover many of them, and what a set of both allows."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

from domain.errors import Invalid

# `{}` because a code holds a path template; `*` only makes sense in patterns.
_EXACT = re.compile(r"[A-Z]{3,10}:[A-Za-z0-9/._~{}:@!$&'()+,;=%-]{1,256}")
_SEGMENT = r"/(?:[A-Za-z0-9._~{}:@!$&'()+,;=%-]+|\*)"
_PATTERN = re.compile(
    rf"(?:[A-Z]{{3,10}}|\*):(?:\*\*|(?:{_SEGMENT}){{1,16}}|(?:{_SEGMENT}){{0,15}}/\*\*)"
)


@dataclass(frozen=True, slots=True, order=True)
class PermissionCode:
    """`METHOD:/path/template` of a route, for example `GET:/api/v1/users/{user_id}`, or `EVENT:name` of an event.

    It is derived from what it guards, never typed.
    """

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
        return code in self.exact or _covers(self._tree, code)


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


@lru_cache(maxsize=4096)
def _covers(tree: _Prefix, code: str) -> bool:
    """Return whether a pattern of `tree` covers `code`; each request asks about one of few codes."""
    return tree.covers(_words(code))


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


class InvalidGrant(Invalid):
    """The text is neither a permission code nor a pattern."""

    code = "access.invalid_grant"

    def __init__(self, value: str) -> None:
        super().__init__(
            "A permission is METHOD:/path, EVENT:name, or a pattern such as *:/api/v1/roles/** or EVENT:**",
            field="permissions",
        )
        self.value = value
