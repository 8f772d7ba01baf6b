"""Definitions of periodic tasks as the beat sees them, and notifications of their changes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId

Version = NewType("Version", int)
"""The version of a stored definition. Every change gives it a new one, also a change by hand."""

Mark = NewType("Mark", int)
"""A point in the history of definitions: everything committed before it has been read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defined:
    """A stored definition, valid or not."""

    task: PeriodicTask | UnreadableTask
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Changes of definitions since a mark. A change may be returned twice, with the same version."""

    defined: Sequence[Defined]
    deleted: Collection[PeriodicTaskId]
    mark: Mark
    """Where the next call continues."""


class DefinitionFeed(Protocol):
    """Every definition, and what changes. The beat reads definitions and never writes them. All raise `Unavailable`."""

    async def load(self) -> Changes:
        """Return every definition, and the mark for the first call of `changes`."""
        ...

    async def changes(self, since: Mark) -> Changes:
        """Return what was committed since a mark, at the cost of the changes alone.

        Nothing is missed: no transaction that began before the mark and committed after it, no bulk update, no
        statement by hand, no writer whose clock is wrong.
        """
        ...

    async def versions(self) -> Mapping[PeriodicTaskId, Version]:
        """Return the version of every definition, for a beat that compares them with those it knows."""
        ...

    async def read(self, ids: Collection[PeriodicTaskId]) -> Sequence[Defined]:
        """Return those definitions that exist."""
        ...

    async def changed(self) -> None:
        """Return as soon as a definition changes, a run is requested, or a leader releases the lease.

        A hint only: it may return for nothing, or not at all while the database is away. Poll `changes` as well.
        """
        ...

    async def record_problems(self, problems: Mapping[PeriodicTaskId, str | None]) -> None:
        """Record why definitions cannot be read, or (None) that they can."""
        ...

    async def recorded_problems(self) -> Mapping[PeriodicTaskId, str]:
        """Return the recorded problems by definition."""
        ...
