"""What `make bench` says of a figure: how many times better it is, and whether that is enough."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks import document, soak
from benchmarks.processes import undisturbed
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


def test_a_round_that_was_disturbed_does_not_change_a_figure() -> None:
    assert undisturbed([130.0, 118.0, 240.0]) == undisturbed([118.0])


def test_the_table_and_the_document_say_the_same() -> None:
    missed = a_figure(target=0.05)

    assert "MISS" in as_table([missed])
    assert json.loads(as_json([missed]))["figures"][0]["passes"] is False


def test_the_documents_show_the_recorded_figures() -> None:
    """`python -m benchmarks.document` writes them anew."""
    for name, text in document.documents().items():
        assert (Path(__file__).parents[2] / name).read_text() == text


def test_a_recorded_row_replaces_the_older_figures_of_its_part_and_row_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("README.md", "README.zh-CN.md"):
        (tmp_path / name).write_text("# Title\n<!-- figures -->\nold\n<!-- /figures -->\n")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(document, "_ROOT", tmp_path)
    log_in = a_figure(row=2, what="log-in", unit="/s", ours=40, reference=80, more_is_better=True)
    of_another_size = a_figure(row=8, what="of another size", target=0.05)
    document.record({"log-in": [log_in], "beat": [a_figure(row=8), of_another_size]})
    document.record({"soak": [a_figure(row=8, what="of another part")]})
    document.record({"beat": [a_figure(row=8, target=0.1)]})

    page = (tmp_path / "docs/performance.md").read_text()
    assert "| 8 | of another part |" in page
    assert "| 8 | idle tick | 0.1 ms |  |  | ≤ 0.1 ms | holds |" in page
    assert "of another size" not in page
    assert "| 2 | log-in | 40 /s | 80 /s () | 0.5 x |" in page
    assert "- 40 log-ins a second: 50 % of" in (tmp_path / "README.md").read_text()
    assert "old" not in (tmp_path / "README.zh-CN.md").read_text()


def test_the_reason_for_a_miss_is_shown_as_long_as_it_is_one() -> None:
    solo = a_figure(row=6, what="async no-op tasks, solo pool", reference=0.08, ratio_target=0.9)

    assert document._limits([solo]) == [
        "- Row 6, async no-op tasks, solo pool: As in the threads pool.\n"
    ]
    assert document._limits([replace(solo, ratio_target=0.8)]) == []


def test_each_recorded_miss_has_its_reason() -> None:
    assert document.unexplained() == []


async def test_a_part_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure(part: str, _rounds: int) -> list[Figure]:
        if part == "lists":
            raise RuntimeError("not every answer is a success")
        return [a_figure(what=part)]

    monkeypatch.setattr(bench, "_measure_alone", measure)
    measured, failed = await bench._measure(["guarded", "lists", "beat"], 1)

    assert measured == {each: [a_figure(what=each)] for each in ("guarded", "beat")}
    assert failed == ["lists"]


@pytest.mark.parametrize(
    ("megabytes", "faults"),
    [
        ([100, 170, 200, 200, 202, 201, 203, 204], []),
        ([200, 200, 200, 204, 220, 240, 260, 280], ["MB rises: 202, in the end 270"]),
        ([200, 210], ["Too short to say: there are fewer than four lines."]),
    ],
)
def test_a_line_that_rises_after_the_first_quarter_is_a_fault(
    megabytes: list[float], faults: list[str]
) -> None:
    same = {"files": 40.0, "tasks": 12.0, "threads": 9.0, "postgres": 8.0, "redis": 8.0}

    assert soak.rising([{"MB": each, **same} for each in megabytes]) == faults
