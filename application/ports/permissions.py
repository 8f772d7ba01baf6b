"""The stored catalogue of routes."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.permissions import Permission, PermissionChange, Route


class PermissionRepository(Protocol):
    """Permissions of one unit of work, one per (method, path)."""

    async def sync(
        self, routes: Sequence[Route], *, ids: Sequence[UUID], at: datetime
    ) -> Sequence[PermissionChange]:
        """Make the catalogue these routes; return what changed for that.

        New ones get the id at their place in `ids`, known ones keep theirs and take the new words,
        vanished ones are marked removed at `at`, and returned ones are no longer removed. Concurrent
        calls wait for each other until their unit of work ends.
        """
        ...

    async def all(self) -> Sequence[Permission]:
        """Return every permission, removed ones too, ordered by path and method."""
        ...

    async def missing(self, codes: Collection[str]) -> Collection[str]:
        """Return those of the exact `codes` that no present route has."""
        ...
