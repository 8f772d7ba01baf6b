"""Checks of each dependency, for readiness and for operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


class Probe(Protocol):
    """One dependency that can be up or down."""

    name: str
    """How operators call it: `postgres`, `redis`, …"""
    required: bool
    """Whether every request needs it. Without any other the service is degraded, and goes on with the rest."""

    async def check(self) -> None:
        """Return if the dependency can be used; raise `Unavailable` with the reason, or anything, if it cannot.

        The caller sets the time-out.
        """
        ...


class Concern(Enum):
    """How much an operator should care."""

    NONE = auto()
    WARNING = auto()
    """It works, but differently from what an operator may expect."""
    WRONG = auto()
    """Something will be lost or refused."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark on one side of a dependency: `about` is a word, `text` explains it."""

    about: str
    text: str
    concern: Concern = Concern.NONE


class Inspection(Protocol):
    """Looks at how a dependency that answers is set up."""

    name: str
    """That of its probe."""

    async def remarks(self) -> Sequence[Remark]:
        """Return one remark for each thing that was looked at; raise `Unavailable`."""
        ...


def clock_remark(ahead: float, *, tolerated: float) -> Remark:
    """Return a remark on a server clock that is `ahead` seconds before ours; tokens tolerate fewer than `tolerated`."""
    if abs(ahead) < _SAME_TIME:
        return Remark("clock", "is that of this host")
    difference = f"is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} that of this host"
    if abs(ahead) < tolerated:
        return Remark("clock", f"{difference}; do both run NTP?", Concern.WARNING)
    return Remark(
        "clock",
        f"{difference}: tokens are refused, locks and schedules are off; have both run NTP",
        Concern.WRONG,
    )


_SAME_TIME = 1.0
