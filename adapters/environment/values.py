"""Reads the value of a setting from the text of a variable, by its type and its `Kind`."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, TypeAdapter

from application.setting_types import Kind
from application.settings import Limit


def parts_of(hint: Any) -> tuple[Any, Sequence[Any]]:  # noqa: ANN401 - an annotation
    """Return the type of an annotation, without None, and all that it is annotated with."""
    if get_origin(hint) is Annotated:
        type_, metadata = parts_of(hint.__origin__)
        return type_, [*metadata, *hint.__metadata__]
    if get_origin(hint) in {Union, UnionType}:
        return parts_of(next(each for each in get_args(hint) if each is not type(None)))
    return hint, []


def kind_of(hint: Any) -> Kind:  # noqa: ANN401 - an annotation
    """Return the kind that an annotation names, or that its type alone implies."""
    type_, metadata = parts_of(hint)
    for part in metadata:
        if isinstance(part, Kind):
            return part
    if choices := [*_choices(type_).values()]:
        return Kind(f"{', '.join(choices[:-1])} or {choices[-1]}")
    return {bool: Kind("on or off"), Path: Kind("a directory")}[type_]


def reader_of(hint: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - an annotation
    """Return the reader of a value: from text, or from a value that has the type already."""
    type_, metadata = parts_of(hint)
    kind, choices = kind_of(hint), _choices(type_)
    steps = [part for part in metadata if not isinstance(part, Kind)]
    if type_ is timedelta:
        steps.append(BeforeValidator(_duration))
    elif type_ is Limit:
        steps.append(BeforeValidator(_limit))
    elif get_origin(type_) is tuple:
        steps.append(BeforeValidator(_words))
    elif choices:
        steps.append(BeforeValidator(lambda value: choices.get(str(value).lower(), value)))
    elif kind.in_bytes:
        type_ = ByteSize
    if kind.least is not None:
        steps.append(Field(ge=kind.least, le=kind.most))
    if kind.pattern is not None:
        steps.append(AfterValidator(_matching(kind.pattern)))
    if kind.schemes:
        steps.append(AfterValidator(_address_of(kind.schemes)))
    return TypeAdapter(Annotated[(type_, *steps)] if steps else type_)


def _choices(type_: Any) -> dict[str, str]:  # noqa: ANN401 - an annotation
    """Return the values of an enumeration by their names in lower case; none for another type."""
    if get_origin(type_) is Literal:
        values: Sequence[str] = get_args(type_)
    else:
        values = [*type_] if isinstance(type_, type) and issubclass(type_, StrEnum) else []
    return {value.lower(): value for value in values}


def _words(value: object) -> object:
    """Split `a, b c` into words."""
    return re.split(r"[,\s]+", value.strip(", \t\n")) if isinstance(value, str) else value


def _limit(value: object) -> object:
    """Read `attempts/seconds`."""
    if isinstance(value, Limit):
        return value
    match = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", str(value))
    if match is None:
        raise ValueError
    return Limit(int(match[1]), int(match[2]))


_UNITS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: object) -> object:
    """Read `30`, `30s`, `10m`, `12h` or `7d`."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?) ?(ms|s|m|h|d|)", str(value))
    if match is None:
        raise ValueError
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def _matching(pattern: str) -> Callable[[Any], Any]:
    def check(value: str | Sequence[str]) -> str | Sequence[str]:
        texts = [value] if isinstance(value, str) else value
        if not all(re.fullmatch(pattern, text) for text in texts):
            raise ValueError
        return value

    return check


def _address_of(schemes: Sequence[str]) -> Callable[[str], str]:
    """Return the check of an address: a scheme, and a host or, for PostgreSQL, a Unix socket."""

    def check(value: str) -> str:
        if "postgresql" in schemes:
            # Other programs write `postgres://…`, or name the driver of SQLAlchemy.
            value = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", value)
        parts = urlsplit(value)
        host = parts.netloc.rpartition("@")[2]
        on_socket = parts.scheme == "postgresql" and re.search(r"(?:^|&)host=[^&]+", parts.query)
        if parts.scheme not in schemes or not (host or on_socket) or re.search(r"\s", value):
            raise ValueError
        if "," not in host:  # MongoDB takes several hosts in one address
            _ = parts.port  # raises unless it is a number
        return value

    return check
