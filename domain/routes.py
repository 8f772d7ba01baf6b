"""The catalogue of HTTP routes: one permission per method and path."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from domain.access import PermissionCode

PermissionId = NewType("PermissionId", UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A guarded route as the HTTP entrypoint declares it."""

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
