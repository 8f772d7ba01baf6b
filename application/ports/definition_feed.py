"""Definitions of periodic tasks as the beat sees them, and notifications of their changes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId

Version = NewType("Version", int)
"""Of a stored definition: another one after every change of it, whoever made it."""

Mark = NewType("Mark", int)
"""A point in the history of definitions: what was committed before it has been seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defined:
    """A stored definition, valid or not."""

    task: PeriodicTask | UnreadableTask
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What happened to definitions since a mark. What was seen before may come again, under the same version."""

    defined: Sequence[Defined]
    deleted: Collection[PeriodicTaskId]
    mark: Mark
    """Where to go on."""


class DefinitionFeed(Protocol):
    """Every definition, and what changes. The beat reads definitions and never writes them. All raise `Unavailable`."""

    async def load(self) -> Changes:
        """Return every definition and the mark to go on from."""
        ...

    async def changes(self, since: Mark) -> Changes:
        """Return what was committed since a mark, at the cost of the changes alone.

        Nothing is missed: not what a transaction wrote that began before the mark and committed after it, not what
        was written in bulk or by hand, not what was written by a clock that is wrong.
        """
        ...

    async def versions(self) -> Mapping[PeriodicTaskId, Version]:
        """Return the version of every definition: what a beat compares with what it knows, now and then."""
        ...

    async def read(self, ids: Collection[PeriodicTaskId]) -> Sequence[Defined]:
        """Return those definitions that exist."""
        ...

    async def changed(self) -> None:
        """Return as soon as a definition changes, a run is asked for, or a leader hands over.

        A hint that may come for nothing, or not at all while the store is away: ask `changes` now and then besides.
        """
        ...

    async def record_problems(self, problems: Mapping[PeriodicTaskId, str | None]) -> None:
        """Record why definitions cannot be read, or (None) that they can."""
        ...

    async def recorded_problems(self) -> Mapping[PeriodicTaskId, str]:
        """Return the recorded problems by definition."""
        ...
