"""Types of query parameters: numbers, flags and instants, each in exactly one format."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator

_NUMBER = re.compile(r"-?[0-9]{1,19}")
# RFC 3339 §5.6, with a required offset. Pydantic alone would accept numbers, as Unix seconds or milliseconds.
_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE
)


def _spelt_as_number(value: object) -> object:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("Input should be a whole number in digits")
    return value


def _spelt_as_flag(value: object) -> object:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise ValueError("Input should be true or false")
    return value


def _spelt_as_instant(value: object) -> object:
    if not isinstance(value, datetime) and not _INSTANT.fullmatch(str(value)):
        raise ValueError("Input should be an RFC 3339 date and time with an offset")
    return value


Number = Annotated[int, BeforeValidator(_spelt_as_number)]
"""A whole number in decimal digits."""

Flag = Annotated[bool, BeforeValidator(_spelt_as_flag)]
"""`true` or `false`."""

Instant = Annotated[AwareDatetime, BeforeValidator(_spelt_as_instant)]
"""An instant (RFC 3339), such as `2026-01-01T00:00:00Z`."""
