"""Sequences: numbers that no two callers get."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field, StrictInt
from starlette.responses import Response

from application.use_cases.sequences import (
    DeleteSequence,
    GetSequence,
    ResetSequence,
    TakeNumbers,
)
from domain.errors import Invalid
from domain.sequences import HIGHEST, LARGEST_RANGE, SequenceKey, SequenceName
from entrypoints.http.envelope import ApiModel, Envelope, Plain, Text
from entrypoints.http.preconditions import (
    ConditionalChangeDep,
    VersionedChangeDep,
    tag,
)
from entrypoints.http.router import Router
from entrypoints.http.security import GuardedRoute, VerifyPermissionDep
from entrypoints.wiring import UseCase

router = Router(prefix="/sequences/{name}")


Name = Annotated[
    str,
    Path(
        pattern=f"^{SequenceName.PATTERN}$",
        max_length=SequenceName.LENGTH[1],
        description="The name of the sequence.",
        examples=["orders"],
    ),
]

_ANY = SequenceName("any")


def _checked(conditions: Mapping[str, str]) -> Mapping[str, str]:
    try:
        SequenceKey(_ANY, conditions)
    except Invalid as error:
        raise ValueError(error.detail) from None
    return conditions


def _checked_pairs(pairs: Sequence[str]) -> Sequence[str]:
    _checked(_to_conditions(pairs))
    return pairs


def _to_conditions(pairs: Sequence[str]) -> Mapping[str, str]:
    if not all(":" in pair for pair in pairs):
        raise ValueError("Input should be a name, a colon and a value, such as shop:456")
    conditions = {name: value for name, _, value in (pair.partition(":") for pair in pairs)}
    if len(conditions) < len(pairs):
        raise ValueError("Input should not have the same name twice")
    return conditions


Conditions = Annotated[
    Mapping[Text, Text],
    AfterValidator(_checked),
    Field(
        description="Each combination of conditions has its own numbers. The order does not matter.",
        examples=[{"shop": "456"}],
    ),
]


class ConditionsQuery(ApiModel):
    """The conditions of a sequence, in a query."""

    condition: Annotated[list[str], AfterValidator(_checked_pairs)] = Field(
        default=[],
        description="A condition as `name:value`; may be repeated.",
        examples=[["shop:456"]],
    )


class TakeNumbersBody(ApiModel):
    """How many numbers to take, of which counter."""

    conditions: Conditions = Field(default_factory=dict)
    count: StrictInt = Field(
        default=1, ge=1, le=LARGEST_RANGE, description="How many numbers to take at once."
    )


class NumbersBody(ApiModel):
    """Consecutive numbers that no other caller gets."""

    first: int = Field(examples=[1])
    last: int = Field(description="The same as `first` if it is one number.", examples=[1])


class SequenceBody(ApiModel):
    """How far a sequence is."""

    name: Plain = Field(examples=["orders"])
    conditions: Mapping[str, str] = Field(examples=[{"shop": "456"}])
    value: int = Field(description="The last number that was given out.", examples=[17])


class ResetSequenceBody(ApiModel):
    """The last number that is to be."""

    conditions: Conditions = Field(default_factory=dict)
    value: StrictInt = Field(
        ge=0, le=HIGHEST, description="The next number is the one after this.", examples=[0]
    )


@router.post("/next", dependencies=[GuardedRoute])
async def take_numbers(
    name: Name, body: TakeNumbersBody, take_numbers: UseCase[TakeNumbers]
) -> Envelope[NumbersBody]:
    """Take the next numbers. No two callers get the same number; a failed request may leave a gap."""
    taken = await take_numbers(SequenceKey(SequenceName(name), body.conditions), count=body.count)
    return Envelope(data=NumbersBody(first=taken[0], last=taken[-1]))


@router.get("", dependencies=[GuardedRoute])
async def get_sequence(
    name: Name,
    get_sequence: UseCase[GetSequence],
    response: Response,
    query: Annotated[ConditionsQuery, Query()],
) -> Envelope[SequenceBody]:
    """See how far a sequence is, without taking a number. The `ETag` is for a reset or a deletion."""
    state = await get_sequence(SequenceKey(SequenceName(name), _to_conditions(query.condition)))
    tag(response, state.value)
    return Envelope(data=SequenceBody.present(state.key, value=state.value))


@router.put("", dependencies=[GuardedRoute])
async def reset_sequence(
    name: Name,
    body: ResetSequenceBody,
    change: VersionedChangeDep,
    caller: VerifyPermissionDep,
    reset_sequence: UseCase[ResetSequence],
) -> Envelope[SequenceBody]:
    """Let a sequence go on after another number; before its first number its `ETag` is `"0"`.

    Numbers after a lower one are given out again.
    """
    key = SequenceKey(SequenceName(name), body.conditions)
    state = await reset_sequence(caller, key, body.value, expected=change.expected_numbers)
    change.tag(state.value)
    return Envelope(data=SequenceBody.present(state.key, value=state.value))


@router.delete("", dependencies=[GuardedRoute])
async def delete_sequence(
    name: Name,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    delete_sequence: UseCase[DeleteSequence],
    query: Annotated[ConditionsQuery, Query()],
) -> Envelope[None]:
    """Delete a sequence. The next one who asks gets the number 1."""
    key = SequenceKey(SequenceName(name), _to_conditions(query.condition))
    await delete_sequence(caller, key, expected=change.expected_numbers)
    return Envelope(data=None)
