"""The base of all bodies (camelCase out, camelCase or snake_case in) and the envelope of a success."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar
from urllib.parse import quote, urljoin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import Invalid
from domain.text import is_storable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")


class ApiModel(BaseModel):
    """The base of every body. Unknown fields are refused, not ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_both_spellings(cls, data: Any) -> Any:  # noqa: ANN401 - anything, before it is looked at
        if isinstance(data, dict):
            for name, field in cls.model_fields.items():
                if field.alias != name and name in data and field.alias in data:
                    raise ValueError(f"{field.alias} is given twice, as {name} too")
        return data

    @classmethod
    def present(cls, thing: object, **more: object) -> Self:
        """Return the body whose fields are `more`, and the attributes of `thing` with the names of the others."""
        names = [name for name in cls.model_fields if hasattr(thing, name)]
        values = {name: getattr(thing, name) for name in names} | more
        return cls.model_validate(values, from_attributes=True)

    def argument(self, kind: type[D], **more: object) -> D:
        """Return the dataclass whose fields are `more`, and what this body has by the names of the others."""
        names = {field.name for field in fields(kind)} & type(self).model_fields.keys()
        return kind(**{name: getattr(self, name) for name in names} | more)


class Envelope(ApiModel, Generic[T]):
    """The envelope of a success."""

    code: int = Field(default=HTTPStatus.OK, description="The HTTP status.", examples=[200])
    message: str = Field(default="Successful.", examples=["Successful."])
    ts: int = Field(
        default_factory=lambda: int(time.time()),
        description="Time of the response, in Unix seconds.",
        examples=[1767225600],
    )
    data: T


class CreatedEnvelope(Envelope[T], Generic[T]):
    """The envelope of a created resource."""

    code: int = Field(default=HTTPStatus.CREATED, description="The HTTP status.", examples=[201])


def locate(request: Request, response: Response, reference: str) -> None:
    """Set the `Location` of a 201 (RFC 9110 §15.3.2); `reference` is relative to the path of the request."""
    response.headers["Location"] = quote(urljoin(request.scope["path"], reference))


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("Input should not contain a NUL character or a lone surrogate")
    return text


_LONGEST_TEXT = 1000

Text = Annotated[str, StringConstraints(max_length=_LONGEST_TEXT), AfterValidator(_storable)]
"""Text from clients: of limited length, and storable (no NUL). A field may set a lower limit."""


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """Parses a field of a body into a domain value: `Annotated[Username, Parsed(Username, Username.LENGTH)]`.

    The domain decides what is valid. Its error becomes an error of that field, with the domain's code as the type, so
    one response lists every invalid field. `length`, the minimum and maximum, is for OpenAPI.
    """

    parse: Callable[[str], T]
    length: tuple[int, int]

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # What the domain refuses for its length, it explains better; but no text is handed on without a limit.
        longest = StringConstraints(max_length=max(self.length[1], _LONGEST_TEXT))
        text = TypeAdapter[str](Annotated[str, longest, AfterValidator(_storable)])
        return core_schema.no_info_after_validator_function(self._parsed, text.core_schema)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        shortest, longest = self.length
        return handler(schema) | {"minLength": shortest, "maxLength": longest}

    def _parsed(self, text: str) -> T:
        try:
            return self.parse(text)
        except Invalid as error:
            raise PydanticCustomError(error.code, "{detail}", {"detail": error.detail}) from None


Plain = Annotated[str, BeforeValidator(lambda value: getattr(value, "value", value))]
"""Text in a response: that of a value object of the domain, or text as it is."""


def _not_null(value: object) -> object:
    if value is None:
        raise ValueError("Input should not be null; leave the field out")
    return value


def _never_null(schema: dict[str, Any]) -> None:
    """Describe a field that is optional but not nullable."""
    schema |= next(branch for branch in schema.pop("anyOf") if branch != {"type": "null"})
    schema.pop("default", None)


MayBeLeftOut = Annotated[T | None, BeforeValidator(_not_null), Field(json_schema_extra=_never_null)]
"""An optional field of a change: None if it is not sent; null is refused. Give it the default None."""
