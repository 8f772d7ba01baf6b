"""The catalogue of guarded routes and their permissions."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from inspect import cleandoc
from uuid import UUID

from fastapi.routing import iter_route_contexts
from pydantic import Field
from starlette.routing import BaseRoute

from application.use_cases.permissions import ListPermissions
from domain.permissions import Route
from entrypoints.http.envelope import ApiModel, Envelope, Plain
from entrypoints.http.router import Router, declarations_of
from entrypoints.http.security import GuardedRoute, verify_permission
from entrypoints.wiring import UseCase

router = Router(prefix="/router")


class PermissionBody(ApiModel):
    """One guarded route and the permission that it requires."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b24"])
    code: Plain = Field(
        description="The permission code that a role grants.",
        examples=["GET:/api/v1/users/{user_id}"],
    )
    method: str = Field(examples=["GET"])
    path: str = Field(examples=["/api/v1/users/{user_id}"])
    name: str = Field(examples=["Get user"])
    description: str = Field(examples=["Show a user, their roles, and what they may do."])
    tag: str = Field(examples=["identity"])
    first_seen_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    removed_at: datetime | None = Field(
        description="When the route was removed; null while it exists.",
        examples=["2026-02-01T00:00:00Z"],
    )


@router.get("/backend", dependencies=[GuardedRoute])
async def list_permissions(
    list_permissions: UseCase[ListPermissions],
) -> Envelope[Sequence[PermissionBody]]:
    """List all permissions, removed ones too, ordered by path and method."""
    return Envelope(
        data=[
            PermissionBody.present(
                each.route, id=each.id, first_seen_at=each.first_seen_at, removed_at=each.removed_at
            )
            for each in await list_permissions()
        ]
    )


def guarded_routes(routes: Sequence[BaseRoute]) -> Iterator[Route]:
    """Yield the routes of an application that require a permission, with their names and descriptions."""
    for route in iter_route_contexts(routes):
        if verify_permission in declarations_of(route):
            for method in sorted(route.methods or ()):
                yield Route(
                    method=method,
                    path=str(route.path_format),
                    name=route.summary or str(route.name).replace("_", " ").capitalize(),
                    description=cleandoc(route.description),
                    tag=str(next(iter(route.tags), "")),
                )
