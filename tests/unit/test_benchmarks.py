"""What `make bench` says of a figure: how many times better it is, and whether that is enough."""

import json
from typing import Any

import pytest

from benchmarks.report import Figure, as_json, as_table


def a_figure(**fields: Any) -> Figure:
    given: dict[str, Any] = {"row": 8, "what": "idle tick", "unit": "ms", "ours": 0.1} | fields
    return Figure(**given)


def test_of_what_should_be_small_half_is_twice_as_good() -> None:
    assert a_figure(ours=1, reference=2).ratio == 2
    assert a_figure(ours=1, reference=2, more_is_better=True).ratio == 0.5


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"target": 0.1}, True),
        ({"target": 0.09}, False),
        ({"reference": 10, "ratio_target": 100}, True),
        ({"reference": 9, "ratio_target": 100}, False),
        ({"target": 0.2, "reference": 9, "ratio_target": 100}, False),
        ({"ours": 90, "target": 100, "more_is_better": True}, False),
    ],
)
def test_a_figure_passes_if_it_reaches_each_target_that_it_has(
    fields: dict[str, Any], *, passes: bool
) -> None:
    assert a_figure(**fields).passes is passes


def test_a_reference_that_timed_out_is_worse_than_its_figure() -> None:
    figure = a_figure(unit="s", ours=0.5, reference=30.0, reference_name="other", at_least=True)

    assert ">30 s (other)  >60 x" in as_table([figure])


def test_the_table_and_the_document_say_the_same() -> None:
    missed = a_figure(target=0.05)

    assert "MISS" in as_table([missed])
    assert json.loads(as_json([missed]))["figures"][0]["passes"] is False
