"""Versions on the wire (RFC 9110 §13): `ETag` tells which one an answer shows, `If-Match` which one a change is for.

They keep two people who change the same thing from undoing each other's work without noticing.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header
from starlette.exceptions import HTTPException
from starlette.responses import Response

from domain.versions import Versions

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = 1000
_ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ENTITY_TAGS = re.compile(rf"{_ENTITY_TAG}(?:[ \t]*,[ \t]*{_ENTITY_TAG})*")
# What `etag_of` makes. A weak tag never matches (RFC 9110 §8.8.3.2).
_OURS = re.compile(r'(?<!W/)"([0-9a-f]{1,14})"')

IfMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=_LONGEST,
        description="The `ETag` of what is to be changed; 412 if it has changed since. `*` accepts any version.",
        examples=['"64a1f0c2b3d4e"'],
    ),
]


def etag_of(updated_at: datetime) -> str:
    """Return the entity tag of a version."""
    return f'"{(updated_at - _EPOCH) // _MICROSECOND:x}"'


def tag(response: Response, updated_at: datetime) -> None:
    """Say in the answer which version it shows."""
    response.headers["ETag"] = etag_of(updated_at)


@dataclass(frozen=True, slots=True)
class ConditionalChange:
    """A change that is meant for some versions of a thing, and its answer."""

    expected: Versions | None
    """None for whatever version there is."""
    _response: Response

    def tag(self, updated_at: datetime) -> None:
        """Say in the answer which version there is now."""
        tag(self._response, updated_at)


async def conditional_change(
    response: Response, if_match: IfMatchHeader = None
) -> ConditionalChange:
    """Return the versions in `If-Match`, or any if there is no such header."""
    text = "*" if if_match is None else if_match.strip(" \t")
    if text == "*":
        return ConditionalChange(None, response)
    if not _ENTITY_TAGS.fullmatch(text):
        raise HTTPException(400, "If-Match takes entity tags in double quotes, or *")
    versions = {_EPOCH + int(ours, 16) * _MICROSECOND for ours in _OURS.findall(text)}
    return ConditionalChange(versions, response)


async def versioned_change(response: Response, if_match: IfMatchHeader = None) -> ConditionalChange:
    """Return the versions in `If-Match`, which must be there (RFC 6585 §3)."""
    if if_match is None:
        raise HTTPException(HTTPStatus.PRECONDITION_REQUIRED)
    return await conditional_change(response, if_match)


ConditionalChangeDep = Annotated[ConditionalChange, Depends(conditional_change)]
VersionedChangeDep = Annotated[ConditionalChange, Depends(versioned_change)]
