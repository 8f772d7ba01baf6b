"""Kinds of fields of plain data: how a value is read, and its limits.

Drafts and schedules are read with them, and the schema of the API is made of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from domain.scheduling.json_values import is_list, is_number, is_object


class InvalidValue(ValueError):
    """The value is invalid; the message continues after the name of the field: "must be text"."""


class FieldKind(Protocol):
    """The values that a field accepts. The owner of the field checks the limits."""

    def read(self, value: object, /) -> Any:  # noqa: ANN401 - each kind has its own
        """Return what plain data says; raise `InvalidValue` or `InvalidDefinition`."""
        ...


Fields = Mapping[str, FieldKind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text of some characters."""

    shortest: int = 0
    longest: int | None = None

    def read(self, value: object) -> str:
        """Return the text."""
        if not isinstance(value, str):
            raise InvalidValue("must be text")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericText(Text):
    """Text that may be written as a whole number, such as the minute 5."""

    def read(self, value: object) -> str:
        """Return the text."""
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return Text.read(self, str(value) if is_whole else value)


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, value: object) -> bool:
        """Return the flag."""
        if not isinstance(value, bool):
            raise InvalidValue("must be true or false")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A whole number."""

    lowest: int
    highest: int | None = None

    def read(self, value: object) -> int:
        """Return the number."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidValue("must be a whole number")
        if self.highest is not None and not self.lowest <= value <= self.highest:
            raise InvalidValue(f"must be from {self.lowest} to {self.highest}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number."""

    lowest: float
    highest: float

    def read(self, value: object) -> float:
        """Return the number."""
        if not is_number(value):
            raise InvalidValue("must be a number")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """A duration from nothing to `longest`, written as a number of seconds."""

    longest: timedelta

    def read(self, value: object) -> timedelta:
        """Return the duration; `timedelta.max` if it is longer than any."""
        if not is_number(value):
            raise InvalidValue("must be a number of seconds")
        try:
            return timedelta(seconds=value)
        except (OverflowError, ValueError):
            return timedelta.max


@dataclass(frozen=True, slots=True)
class Instant:
    """A date and a time with an offset, as text (ISO 8601) or a datetime; read as one in UTC."""

    def read(self, value: object) -> datetime:
        """Return the instant in UTC."""
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            moment = None
        if not isinstance(moment, datetime):
            raise InvalidValue("must be a date and a time (2026-11-01T05:00:00Z)")
        if moment.utcoffset() is None:
            raise InvalidValue("must say its offset from UTC (…Z or …+01:00)")
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise InvalidValue("is out of range") from None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    words: type[StrEnum]

    def read(self, value: object) -> StrEnum:
        """Return the word."""
        if not isinstance(value, str) or value not in list(self.words):
            raise InvalidValue(f"must be one of {', '.join(self.words)}")
        return self.words(value)


@dataclass(frozen=True, slots=True)
class JsonList:
    """A list of anything."""

    def read(self, value: object) -> Sequence[object]:
        """Return the list."""
        if not is_list(value):
            raise InvalidValue("must be a list")
        return value


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object with any fields; `make` reads it further."""

    make: Callable[[Any], Any] | None = None

    def read(self, value: object) -> Any:  # noqa: ANN401 - what `make` makes
        """Return the object, or what is made of it."""
        if not is_object(value):
            raise InvalidValue("must be an object")
        return value if self.make is None else self.make(value)


@dataclass(frozen=True, slots=True)
class OrNull:
    """The values of another kind, or null."""

    kind: FieldKind

    def read(self, value: object) -> Any:  # noqa: ANN401 - that of the kind, or None
        """Return the value, or None."""
        return None if value is None else self.kind.read(value)
