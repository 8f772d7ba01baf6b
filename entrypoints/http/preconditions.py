"""Conditional requests (RFC 9110 §13): `ETag` names the version in a response, `If-Match` the version to change.

They prevent lost updates when two people change the same resource.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header
from starlette.exceptions import HTTPException
from starlette.responses import Response

from domain.instants import from_microseconds, to_microseconds
from domain.versions import Versions

_LONGEST = 1000
_ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ENTITY_TAGS = re.compile(rf"{_ENTITY_TAG}(?:[ \t]*,[ \t]*{_ENTITY_TAG})*")
# The tags of `tag`. A weak tag never matches (RFC 9110 §8.8.3.2).
_OURS = re.compile(r'(?<!W/)"([0-9a-f]{1,14})"')

IfMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=_LONGEST,
        description="The `ETag` of the version to change; 412 if it has changed since. `*` accepts any version.",
        examples=['"64a1f0c2b3d4e"'],
    ),
]


def tag(response: Response, version: datetime | int) -> None:
    """Set the `ETag` of the response: a version is the time of the last change, or a number."""
    number = version if isinstance(version, int) else to_microseconds(version)
    response.headers["ETag"] = f'"{number:x}"'


@dataclass(frozen=True, slots=True)
class ConditionalChange:
    """A change that applies only to the expected versions of a resource, and its response."""

    expected: Versions | None
    """None: any version."""
    _response: Response

    @property
    def expected_numbers(self) -> Collection[int] | None:
        """The expected versions of a resource whose version is a number; None: any version."""
        if self.expected is None:
            return None
        return {to_microseconds(version) for version in self.expected}

    def tag(self, version: datetime | int) -> None:
        """Set the `ETag` of the new version."""
        tag(self._response, version)


async def conditional_change(
    response: Response, if_match: IfMatchHeader = None
) -> ConditionalChange:
    """Return the versions in `If-Match`; without the header, any version."""
    text = "*" if if_match is None else if_match.strip(" \t")
    if text == "*":
        return ConditionalChange(None, response)
    if not _ENTITY_TAGS.fullmatch(text):
        raise HTTPException(400, "If-Match takes entity tags in double quotes, or *")
    versions = {from_microseconds(int(ours, 16)) for ours in _OURS.findall(text)}
    return ConditionalChange(versions, response)


async def versioned_change(response: Response, if_match: IfMatchHeader = None) -> ConditionalChange:
    """Return the versions in `If-Match`; the header is required (RFC 6585 §3)."""
    if if_match is None:
        raise HTTPException(HTTPStatus.PRECONDITION_REQUIRED)
    return await conditional_change(response, if_match)


ConditionalChangeDep = Annotated[ConditionalChange, Depends(conditional_change)]
VersionedChangeDep = Annotated[ConditionalChange, Depends(versioned_change)]
