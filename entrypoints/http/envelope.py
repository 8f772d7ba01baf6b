"""What bodies look like: camelCase out, camelCase and snake_case in, and every success in one envelope."""

import time
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic.alias_generators import to_camel

T = TypeVar("T")


class Body(BaseModel):
    """The base of every body. A field that a request may not have is refused, not ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
    )


class Response(Body, Generic[T]):
    """The envelope of a success."""

    code: int = Field(default=HTTPStatus.OK, description="The HTTP status.", examples=[200])
    message: str = Field(default="Successful.", examples=["Successful."])
    ts: int = Field(
        default_factory=lambda: int(time.time()),
        description="When this was answered, in Unix seconds.",
        examples=[1767225600],
    )
    data: T


class Created(Response[T], Generic[T]):
    """The envelope of what was made."""

    code: int = Field(default=HTTPStatus.CREATED, description="The HTTP status.", examples=[201])


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("Input should not contain a NUL character")
    return text


Text = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_without_nul)]
"""Text from outside: bounded, and without NUL, which PostgreSQL cannot store. A field may set a smaller bound."""


def _not_null(value: object) -> object:
    if value is None:
        raise ValueError("Input should not be null; leave the field out")
    return value


def _never_null(schema: dict[str, Any]) -> None:
    """Describe a field that may be left out and may not be null."""
    schema |= next(branch for branch in schema.pop("anyOf") if branch != {"type": "null"})
    schema.pop("default", None)


MayBeLeftOut = Annotated[T | None, BeforeValidator(_not_null), Field(json_schema_extra=_never_null)]
"""What a change leaves as it is if it is not sent: None then, and null is refused. Give it the default None."""
