"""Sequences: named counters that never give the same number to two callers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from domain.errors import Conflict, Invalid, NotFound
from domain.text import problem_with

HIGHEST = 2**53 - 1
"""The highest number: beyond it, JSON numbers lose digits in many parsers (RFC 7493 §2.2)."""
LARGEST_RANGE = 1_000
"""How many numbers one call may take."""

_LONGEST_CONDITION = 200
_MOST_CONDITIONS = 10


@dataclass(frozen=True, slots=True)
class SequenceName:
    """The name of a sequence: letters, digits, dots, hyphens and underscores, for example `orders`."""

    LENGTH: ClassVar = (1, 100)
    PATTERN: ClassVar = "[A-Za-z0-9][A-Za-z0-9._-]*"

    value: str

    def __post_init__(self) -> None:
        if len(self.value) > self.LENGTH[1] or not re.fullmatch(self.PATTERN, self.value):
            raise InvalidSequence(
                f"The name must be 1 to {self.LENGTH[1]} letters, digits, dots, hyphens or underscores, "
                "the first one a letter or a digit",
                field="name",
            )


@dataclass(frozen=True, slots=True)
class SequenceKey:
    """What a counter counts: a name, and conditions such as `{"shop": "456"}`, whose order does not matter."""

    name: SequenceName
    conditions: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if len(self.conditions) > _MOST_CONDITIONS:
            raise InvalidSequence(
                f"There may be at most {_MOST_CONDITIONS} conditions", field="conditions"
            )
        for name, value in self.conditions.items():
            SequenceName(name)
            if problem := problem_with(value, 1, _LONGEST_CONDITION):
                raise InvalidSequence(f"The condition {name} {problem}", field="conditions")

    @property
    def text(self) -> str:
        """The same text for equal keys, and for no others."""
        conditions = json.dumps(dict(sorted(self.conditions.items())), ensure_ascii=False)
        return f"{self.name.value}\n{conditions}"


@dataclass(frozen=True, slots=True)
class SequenceState:
    """How far a sequence is."""

    key: SequenceKey
    value: int
    """The last number that was given out; 0 before the first one."""


class InvalidSequence(Invalid):
    """The name or the conditions break a rule."""

    code = "sequences.invalid"


class SequenceNotFound(NotFound):
    """No number of this sequence was taken yet."""

    code = "sequences.not_found"

    def __init__(self) -> None:
        super().__init__("There is no sequence with this name and these conditions")


class SequenceExhausted(Conflict):
    """There are not as many numbers left."""

    code = "sequences.exhausted"

    def __init__(self) -> None:
        super().__init__(f"The sequence has no such numbers left: {HIGHEST} is the highest one")
