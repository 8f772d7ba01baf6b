"""One line for each figure: ours, the reference of the same run, their ratio, and whether that is what we want."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import ge, le


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of `row`. Without a reference it stands by itself."""

    row: int
    what: str
    unit: str
    ours: float
    reference: float | None = None
    reference_name: str = ""
    at_least: bool = False
    """Whether the reference could not be measured to its end, and is worse than it says."""
    ratio_target: float | None = None
    """What `ratio` must reach."""
    target: float | None = None
    """What `ours` must be."""
    more_is_better: bool = False
    size: int | None = None
    """How many tasks, users or callers, where the cost might grow with them."""

    @property
    def ratio(self) -> float | None:
        """How many times better we are."""
        if self.reference is None or not self.ours or not self.reference:
            return None
        ratio = self.ours / self.reference
        return ratio if self.more_is_better else 1 / ratio

    @property
    def passes(self) -> bool:
        """Whether it is what we want."""
        suits: Callable[[float, float], bool] = ge if self.more_is_better else le
        good = self.target is None or suits(self.ours, self.target)
        return good and (
            self.ratio_target is None or self.ratio is None or self.ratio >= self.ratio_target
        )


def as_json(figures: Sequence[Figure]) -> str:
    """Return the figures as one JSON document."""
    rows = [asdict(each) | {"ratio": each.ratio, "passes": each.passes} for each in figures]
    return json.dumps({"figures": rows}, indent=2)


def as_table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table for people."""
    head = ("#", "figure", "ours", "reference", "ratio", "target", "")
    lines = [head, *(cells(figure) for figure in figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def cells(figure: Figure) -> tuple[str, ...]:
    """Return the cells of a figure's line, as text."""
    reference = ratio = ""
    more = ">" if figure.at_least else ""
    if figure.reference is not None:
        reference = f"{more}{_number(figure.reference)} {figure.unit} ({figure.reference_name})"
    if figure.ratio is not None:
        ratio = f"{more}{_number(figure.ratio)} x"
    sign = "≥" if figure.more_is_better else "≤"
    targets = []
    if figure.target is not None:
        targets.append(f"{sign} {_number(figure.target)} {figure.unit}")
    if figure.ratio_target is not None:
        targets.append(f"≥ {figure.ratio_target:g} x")
    return (
        str(figure.row),
        figure.what,
        f"{_number(figure.ours)} {figure.unit}",
        reference,
        ratio,
        ", ".join(targets),
        "pass" if figure.passes else "MISS",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.3g}"


_WHOLE_FROM = 100
