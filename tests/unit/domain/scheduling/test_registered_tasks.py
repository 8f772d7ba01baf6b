"""Arguments suit a task exactly if Python could call its function with them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.scheduling.registered_tasks import Parameter, ParameterKind, RegisteredTask

_KINDS = list(ParameterKind)
_VARIADIC = {ParameterKind.VAR_POSITIONAL, ParameterKind.VAR_KEYWORD}


@st.composite
def parameters(draw: st.DrawFn) -> list[Parameter]:
    """Draw the parameters of a function, in an order that Python takes."""
    kinds = sorted(draw(st.lists(st.sampled_from(_KINDS), max_size=5)), key=_KINDS.index)
    drawn: list[Parameter] = []
    for kind, name in zip(kinds, "abcde", strict=False):
        if kind not in _VARIADIC:
            follows_optional = kind in _KINDS[:2] and any(not each.required for each in drawn)
            required = draw(st.booleans()) and not follows_optional
            drawn.append(Parameter(name=name, kind=kind, required=required))
        elif all(each.kind is not kind for each in drawn):
            drawn.append(Parameter(name=name, kind=kind, required=False))
    return drawn


def written(parameters: list[Parameter]) -> str:
    """Return the parameters as one writes them in Python."""
    parts, slash, star = [], False, False
    for each in parameters:
        if slash and each.kind is not ParameterKind.POSITIONAL_ONLY:
            parts.append("/")
        slash = each.kind is ParameterKind.POSITIONAL_ONLY
        if each.kind is ParameterKind.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or each.kind in {ParameterKind.KEYWORD_ONLY, ParameterKind.VAR_POSITIONAL}
        mark = {ParameterKind.VAR_POSITIONAL: "*", ParameterKind.VAR_KEYWORD: "**"}
        default = "" if each.required or each.kind in mark else "=None"
        parts.append(f"{mark.get(each.kind, '')}{each.name}{default}")
    return ", ".join([*parts, "/"] if slash else parts)


@given(
    parameters(),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(), max_size=4),
)
def test_only_arguments_that_python_would_refuse_have_a_problem(
    parameters: list[Parameter], args: list[int], kwargs: dict[str, int]
) -> None:
    task = RegisteredTask(name="t", parameters=tuple(parameters))
    function = eval(f"lambda {written(parameters)}: None")  # noqa: S307 - what Python says of its own
    try:
        function(*args, **kwargs)
    except TypeError:
        assert task.problems_with(args, kwargs)
    else:
        assert task.problems_with(args, kwargs) == {}


SEND = RegisteredTask(
    name="mail.send",
    parameters=(
        Parameter(name="to"),
        Parameter(name="subject", required=False),
        Parameter(name="urgent", kind=ParameterKind.KEYWORD_ONLY, required=False),
    ),
)


@pytest.mark.parametrize(
    ("args", "kwargs", "problems"),
    [
        ([], {}, {"kwargs": "lacks to, which mail.send needs"}),
        ([1, 2, 3], {}, {"args": "has 3 values, but mail.send takes 2 by position"}),
        ([1], {"to": 2}, {"kwargs.to": "is given by position too"}),
        ([1], {"cc": 2}, {"kwargs.cc": "is no parameter of mail.send"}),
        ([1], {"urgent": True}, {}),
    ],
)
def test_every_problem_is_said_where_it_is(
    args: list[Any], kwargs: dict[str, Any], problems: dict[str, str]
) -> None:
    assert SEND.problems_with(args, kwargs) == problems


def test_a_task_of_which_nothing_is_known_takes_anything() -> None:
    task = RegisteredTask(name="legacy", accepts_anything=True)

    assert task.problems_with([1, 2], {"x": 3}) == {}
