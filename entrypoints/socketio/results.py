"""Turns results of handlers, and emitted values, into values that a packet can carry."""

from math import isfinite
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

_READY = frozenset({str, int, bool, type(None), bytes, bytearray})


def serialise(value: Any) -> Any:
    """Return `value` as JSON types and `bytes`.

    Tuples stay tuples (several arguments), and bytes in lists, tuples and dicts stay binary. Models, dataclasses,
    dates, UUIDs and all other types that Pydantic knows become JSON as Pydantic writes it, with aliases. Raise
    `PydanticSerializationError` for the rest, and for NaN and Infinity, which are no JSON.
    """
    kind = type(value)
    if kind in _READY:
        return value
    if kind is float:
        _check_finite(value)
        return value
    if kind is dict:
        return {
            key if type(key) is str else _text_of(key): item
            if type(item) in _READY
            else serialise(item)
            for key, item in value.items()
        }
    if kind is list:
        return [item if type(item) in _READY else serialise(item) for item in value]
    if kind is tuple:
        return tuple([serialise(item) for item in value])
    ready = to_jsonable_python(value, by_alias=True)
    _check_finite(ready)
    return ready


def _check_finite(value: Any) -> None:
    if isinstance(value, float):
        if not isfinite(value):
            raise PydanticSerializationError(f"{value} is no JSON")
    elif isinstance(value, dict):
        for item in value.values():
            _check_finite(item)
    elif isinstance(value, list):
        for item in value:
            _check_finite(item)


def _text_of(key: Any) -> Any:
    return to_jsonable_python({key: None}).popitem()[0]
