"""JSON values. Arguments, headers and options are JSON: a message carries them and a `jsonb` column holds them."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypeAlias, TypeGuard

from domain.text import is_storable

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

_DEEPEST = 20


def is_object(value: object) -> TypeGuard[dict[object, object]]:
    """Return whether `value` is a dict. Its names and values may still be no JSON."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Return whether `value` is a list. Its items may still be no JSON."""
    return isinstance(value, list | tuple)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether `value` is a number; a bool is not one here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def problem_with_json(value: object, *, depth: int = 0) -> str | None:
    """Return why `value` cannot be sent and stored, or None."""
    if is_list(value) or is_object(value):
        if depth == _DEEPEST:
            return f"is nested more than {_DEEPEST} levels deep"
        if is_object(value) and not all(isinstance(name, str) for name in value):
            return "has a name that is not text"
        for item in chain(value, value.values()) if is_object(value) else value:
            if problem := problem_with_json(item, depth=depth + 1):
                return problem
        return None
    return _problem_with_scalar(value)


def _problem_with_scalar(value: object) -> str | None:
    problem = None
    match value:
        case bool() | None:
            pass
        case str():
            if not is_storable(value):
                problem = "has a character that cannot be stored"
        case int():
            if not -(2**63) <= value < 2**63:
                problem = "has a whole number that 64 bits cannot hold"
        case float():
            if not math.isfinite(value):
                problem = "has a number that is not finite"
        case _:
            problem = "has a value that JSON cannot say"
    return problem
