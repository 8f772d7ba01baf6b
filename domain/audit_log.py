"""The audit log: its entries, and what they hold. An entry is never changed."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType, cast
from uuid import UUID

from domain.identity import UserId
from domain.text import storable_text

AuditId = NewType("AuditId", UUID)

LARGEST_DETAILS = 64 * 1024
"""Largest size of the details of an entry, in bytes of JSON."""

# Of details that are too large. A character takes 6 bytes of JSON at the most, so this always fits.
_LONGEST_EXCERPT = 8_000
_LONGEST_TEXTS = {"action": 100, "target": 300, "address": 100, "agent": 256, "request_id": 128}
_DEEPEST = 20


class AuditOutcome(StrEnum):
    """Whether the action succeeded."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One action: its actor, target, address, time and result. It never changes and never holds a secret.

    Every store can hold every entry, so no entry is lost and none holds up others: long texts are cut, characters
    that cannot be stored are replaced, and details become JSON values. Details larger than `LARGEST_DETAILS` are
    replaced by `{"excerpt": <the beginning of their JSON>, "bytes": <its length>}`.
    """

    id: AuditId
    at: datetime
    action: str
    """In the form `users.disabled`: the capability, and what happened."""
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    actor: UserId | None = None
    """None if the user is unknown, or if it was the system."""
    target: str = ""
    """In the form `user:<id>`."""
    address: str = ""
    agent: str = ""
    request_id: str = ""
    details: Mapping[str, object] = field(default_factory=dict[str, object])
    """JSON values."""

    @property
    def concerned(self) -> frozenset[UserId]:
        """The user who did it, and the user it was done to."""
        kind, _, target = self.target.partition(":")
        users = {self.actor}
        if kind == "user":
            with suppress(ValueError):
                users.add(UserId(UUID(target)))
        return frozenset(user for user in users if user is not None)

    def __post_init__(self) -> None:
        for name, longest in _LONGEST_TEXTS.items():
            object.__setattr__(self, name, storable_text(getattr(self, name)[:longest]))
        object.__setattr__(self, "details", _storable_details(self.details))


def parts_of(details: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """Return `details` unchanged if one entry can hold them, else in numbered parts.

    No value is left out, so a user cannot hide one behind many others: objects and lists are divided. A single text
    larger than `LARGEST_DETAILS` has a part of its own.
    """
    storable = _storable_object(cast("Mapping[object, object]", details), depth=1)
    if _size(storable) <= LARGEST_DETAILS:
        return [storable]
    parts: list[dict[str, object]] = []
    size = LARGEST_DETAILS
    for path, leaf in _leaves(storable):
        # The size if nothing of its path exists yet, with brackets, quotes and commas.
        more = _size(leaf) + sum(len(json.dumps(name).encode()) + 4 for name in path) + 4
        if size + more > LARGEST_DETAILS - _ROOM_FOR_NUMBERS:
            parts.append({})
            size = 0
        _put(parts[-1], path, leaf)
        size += more
    return [{"part": n, "parts": len(parts), **part} for n, part in enumerate(parts, 1)]


_ROOM_FOR_NUMBERS = 100


@dataclass(frozen=True, slots=True)
class _Item:
    """An item of a list."""

    value: object


def _leaves(value: object, *path: str) -> Iterator[tuple[tuple[str, ...], object]]:
    match value:
        case dict() if value:
            for name, item in cast("dict[str, object]", value).items():
                yield from _leaves(item, *path, name)
        case list() if value:
            yield from ((path, _Item(item)) for item in cast("list[object]", value))
        case _:
            yield path, value


def _put(part: dict[str, object], path: tuple[str, ...], leaf: object) -> None:
    *objects, name = path
    for each in objects:
        part = cast("dict[str, object]", part.setdefault(each, {}))
    if isinstance(leaf, _Item):
        cast("list[object]", part.setdefault(name, [])).append(leaf.value)
    else:
        part[name] = leaf


def _size(storable: object) -> int:
    value = storable.value if isinstance(storable, _Item) else storable
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _storable_details(details: Mapping[str, object]) -> dict[str, object]:
    if not details:
        return {}
    storable = _storable_object(cast("Mapping[object, object]", details), depth=1)
    text = json.dumps(storable, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    if size <= LARGEST_DETAILS:
        return storable
    return {"excerpt": text[:_LONGEST_EXCERPT], "bytes": size}


def _storable_object(value: Mapping[object, object], *, depth: int) -> dict[str, object]:
    return {
        storable_text(str(name)): _storable(item, depth=depth + 1) for name, item in value.items()
    }


def _storable(value: object, *, depth: int) -> object:
    """Return `value` as JSON; what JSON cannot express becomes text."""
    storable: object
    match value:
        case None | bool():
            storable = value
        case str():
            storable = storable_text(value)
        case int() if -(2**63) <= value < 2**63:
            storable = int(value)
        case int():
            storable = hex(value)  # in decimal the interpreter refuses to write long ones
        case float() if math.isfinite(value):
            storable = float(value)
        case Mapping() | list() | tuple() | AbstractSet() if depth > _DEEPEST:
            storable = "…"
        case Mapping():
            storable = _storable_object(cast("Mapping[object, object]", value), depth=depth)
        case list() | tuple() | AbstractSet():
            items = cast("Iterable[object]", value)
            storable = [_storable(item, depth=depth + 1) for item in items]
        case _:
            storable = storable_text(str(value))
    return storable
