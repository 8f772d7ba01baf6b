"""The catalogue of what is guarded: one permission per method and path of a route, and per event of Socket.IO."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.grants import PermissionCode

PermissionId = NewType("PermissionId", UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A guarded route as the HTTP entrypoint declares it, or an event, whose method is `EVENT`."""

    method: str
    path: str
    name: str
    description: str = ""
    tag: str = ""

    @property
    def code(self) -> PermissionCode:
        """The permission that the route needs."""
        return PermissionCode.of(self.method, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """A route that was seen, and whether it still exists. Its id never changes."""

    id: PermissionId
    route: Route
    first_seen_at: datetime
    removed_at: datetime | None = None


class PermissionChangeKind(StrEnum):
    """How a permission changed."""

    ADDED = "added"
    """Its route is new, or has returned."""
    REMOVED = "removed"
    REWORDED = "reworded"


@dataclass(frozen=True, slots=True)
class PermissionChange:
    """A permission as it was, None if it is new, and as it is now."""

    before: Permission | None
    after: Permission

    @property
    def kind(self) -> PermissionChangeKind:
        """How it changed."""
        if self.after.removed_at is not None:
            return PermissionChangeKind.REMOVED
        if self.before is None or self.before.removed_at is not None:
            return PermissionChangeKind.ADDED
        return PermissionChangeKind.REWORDED


def reconcile(
    known: Iterable[Permission], routes: Sequence[Route], *, ids: Sequence[UUID], at: datetime
) -> Sequence[PermissionChange]:
    """Return the changes that turn the `known` permissions into those of `routes`.

    A new one gets the id at its place in `ids`; what has vanished is removed at `at`.
    """
    wanted = {
        (route.method, route.path): (route, fresh) for route, fresh in zip(routes, ids, strict=True)
    }
    changes: list[PermissionChange] = []
    for permission in known:
        route, _ = wanted.pop((permission.route.method, permission.route.path), (None, None))
        if route is None:
            present = replace(permission, removed_at=permission.removed_at or at)
        else:
            present = replace(permission, route=route, removed_at=None)
        if present != permission:
            changes.append(PermissionChange(permission, present))
    changes += (
        PermissionChange(None, Permission(id=PermissionId(fresh), route=route, first_seen_at=at))
        for route, fresh in wanted.values()
    )
    return changes
