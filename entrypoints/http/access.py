"""Roles: the permissions they grant, and the users who have them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from application.ports.roles import RoleFilter
from application.use_cases.access.roles import (
    CreateRole,
    DeleteRoles,
    GetRole,
    ListAllRoles,
    ListOwnRoles,
    ListRoles,
    ListRoleUsers,
    ReplaceRole,
    RoleDraft,
)
from domain.grants import Grant
from domain.roles import Role, RoleId, RoleStatus, RoleText
from entrypoints.http.envelope import (
    ApiModel,
    CreatedEnvelope,
    Envelope,
    MayBeLeftOut,
    Parsed,
    Plain,
    locate,
)
from entrypoints.http.identity.bodies import ListedUserBody, RoleCodeField, SortOfUsers
from entrypoints.http.paging import Keyword, Page, PageQuery
from entrypoints.http.preconditions import ConditionalChangeDep, VersionedChangeDep, tag
from entrypoints.http.query_types import Flag
from entrypoints.http.router import Router
from entrypoints.http.security import (
    AuthenticatedRoute,
    CallerDep,
    GuardedRoute,
    VerifyPermissionDep,
)
from entrypoints.wiring import UseCase

router = Router(prefix="/roles")


# --- bodies -------------------------------------------------------------------------------------

NameField = Annotated[
    str,
    Parsed(RoleText.NAME.parse, RoleText.NAME.length),
    Field(
        description="2 to 100 characters on one line. Unique; case is ignored.",
        examples=["Editor"],
    ),
]
DescriptionField = Annotated[
    str,
    Parsed(RoleText.DESCRIPTION.parse, RoleText.DESCRIPTION.length),
    Field(description="At most 500 characters.", examples=["Writes and corrects."]),
]
GrantField = Annotated[Grant, Parsed(Grant, Grant.LENGTH)]
GrantsField = Annotated[
    Sequence[GrantField],
    Field(
        max_length=1000,
        description=(
            "Permission codes from `GET /router/backend`, or patterns: at most 50, of at most 16 segments each. In a "
            "pattern, `*` matches one method or one segment of the path; `**`, at the end only, matches any number of "
            "segments."
        ),
        examples=[["GET:/api/v1/users/{user_id}", "*:/api/v1/roles/**"]],
    ),
]
ButtonsField = Annotated[
    Sequence[Annotated[str, Parsed(RoleText.BUTTON.parse, RoleText.BUTTON.length)]],
    Field(
        max_length=1000,
        description="Names that front ends interpret; the API does not.",
        examples=[["user.create"]],
    ),
]
RoutersField = Annotated[
    Sequence[Annotated[str, Parsed(RoleText.ROUTER.parse, RoleText.ROUTER.length)]],
    Field(
        max_length=1000,
        description="Names that front ends interpret; the API does not.",
        examples=[["/users"]],
    ),
]
_FORCE = Field(description="Delete the role even if users have it.")


class RoleQuery(
    PageQuery[
        Literal[
            "code",
            "-code",
            "name",
            "-name",
            "createdAt",
            "-createdAt",
            "updatedAt",
            "-updatedAt",
        ]
    ]
):
    """Filters of the list; all of them must match."""

    keyword: MayBeLeftOut[Keyword] = Field(
        default=None,
        description="A part of the name or the code. Case is ignored; there are no wildcards.",
    )
    status: MayBeLeftOut[RoleStatus] = None


class RoleDraftBody(ApiModel):
    """All properties of a role. A property that is left out is set to its default."""

    code: RoleCodeField
    name: NameField
    description: DescriptionField = ""
    status: RoleStatus = Field(
        default=RoleStatus.ACTIVE, description="A disabled role grants nothing."
    )
    permissions: GrantsField = ()
    button_permissions: ButtonsField = ()
    router_permissions: RoutersField = ()

    def draft(self) -> RoleDraft:
        """Return the argument of the use case."""
        return self.argument(
            RoleDraft,
            grants=frozenset(self.permissions),
            buttons=frozenset(self.button_permissions),
            routers=frozenset(self.router_permissions),
        )


class ListedRoleBody(ApiModel):
    """A role without its permissions; `GET /roles/{role_id}` returns them."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b23"])
    code: Plain = Field(examples=["editor"])
    name: str = Field(examples=["Editor"])
    description: str = Field(examples=["Writes and corrects."])
    status: RoleStatus = Field(description="A disabled role grants nothing.", examples=["active"])
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    updated_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])


class RoleBody(ListedRoleBody):
    """A role with its permissions."""

    permissions: Sequence[str] = Field(
        description="Permission codes and patterns.",
        examples=[["GET:/api/v1/users/{user_id}", "*:/api/v1/roles/**"]],
    )
    button_permissions: Sequence[str] = Field(
        description="Names that front ends interpret; the API does not.", examples=[["user.create"]]
    )
    router_permissions: Sequence[str] = Field(
        description="Names that front ends interpret; the API does not.", examples=[["/users"]]
    )

    @classmethod
    def of(cls, role: Role) -> Self:
        """Present `role`."""
        return cls.present(
            role,
            permissions=sorted(grant.value for grant in role.grants),
            button_permissions=sorted(role.buttons),
            router_permissions=sorted(role.routers),
        )


def _distinct(ids: Sequence[UUID]) -> Sequence[UUID]:
    if len(set(ids)) < len(ids):
        raise ValueError("Input should not have the same id twice")
    return ids


class DeleteRolesBody(ApiModel):
    """The roles to delete: either all of them are deleted or none."""

    ids: Annotated[
        Sequence[UUID],
        AfterValidator(_distinct),
        Field(
            min_length=1,
            max_length=100,
            description="Ids of roles, without duplicates.",
            examples=[["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b23"]],
            json_schema_extra={"uniqueItems": True},
        ),
    ]
    force: Annotated[StrictBool, _FORCE] = False


class DeleteRoleQuery(ApiModel):
    """Whether to delete a role that somebody has."""

    force: Annotated[Flag, _FORCE] = False


# --- routes -------------------------------------------------------------------------------------


@router.get("", dependencies=[GuardedRoute])
async def list_roles(
    query: Annotated[RoleQuery, Query()], list_roles: UseCase[ListRoles]
) -> Envelope[Page[ListedRoleBody]]:
    """List roles. The default order is by code."""
    found = await list_roles(query.argument(RoleFilter), query.request())
    return Envelope(data=Page.of(found, query, ListedRoleBody.present))


@router.get("/all", dependencies=[GuardedRoute])
async def list_all_roles(
    list_all_roles: UseCase[ListAllRoles],
) -> Envelope[Sequence[ListedRoleBody]]:
    """List all roles on one page, for selection lists."""
    return Envelope(data=[ListedRoleBody.present(role) for role in await list_all_roles()])


@router.get("/mine", dependencies=[AuthenticatedRoute])
async def list_own_roles(
    caller: CallerDep, list_own_roles: UseCase[ListOwnRoles]
) -> Envelope[Sequence[ListedRoleBody]]:
    """List the roles of the caller, including disabled ones."""
    return Envelope(data=[ListedRoleBody.present(role) for role in await list_own_roles(caller)])


@router.get("/{role_id}", dependencies=[GuardedRoute])
async def get_role(
    role_id: UUID, get_role: UseCase[GetRole], response: Response
) -> Envelope[RoleBody]:
    """Get a role."""
    role = await get_role(RoleId(role_id))
    tag(response, role.updated_at)
    return Envelope(data=RoleBody.of(role))


@router.post("", status_code=201, dependencies=[GuardedRoute])
async def create_role(
    body: RoleDraftBody,
    caller: VerifyPermissionDep,
    create_role: UseCase[CreateRole],
    request: Request,
    response: Response,
) -> CreatedEnvelope[RoleBody]:
    """Create a role. Callers can grant only permissions that they have."""
    role = await create_role(caller, body.draft())
    locate(request, response, f"roles/{role.id}")
    tag(response, role.updated_at)
    return CreatedEnvelope(data=RoleBody.of(role))


@router.put("/{role_id}", dependencies=[GuardedRoute])
async def replace_role(
    role_id: UUID,
    body: RoleDraftBody,
    change: VersionedChangeDep,
    caller: VerifyPermissionDep,
    replace_role: UseCase[ReplaceRole],
) -> Envelope[RoleBody]:
    """Replace a role. The change applies from the next request of each user who has it."""
    role = await replace_role(caller, RoleId(role_id), body.draft(), expected=change.expected)
    change.tag(role.updated_at)
    return Envelope(data=RoleBody.of(role))


@router.delete("/{role_id}", dependencies=[GuardedRoute])
async def delete_role(
    role_id: UUID,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    delete_roles: UseCase[DeleteRoles],
    query: Annotated[DeleteRoleQuery, Query()],
) -> Envelope[None]:
    """Delete a role."""
    await delete_roles(caller, [RoleId(role_id)], force=query.force, expected=change.expected)
    return Envelope(data=None)


@router.delete("", dependencies=[GuardedRoute])
async def delete_roles(
    body: DeleteRolesBody, caller: VerifyPermissionDep, delete_roles: UseCase[DeleteRoles]
) -> Envelope[None]:
    """Delete roles: either all of them or none."""
    await delete_roles(caller, [RoleId(role_id) for role_id in body.ids], force=body.force)
    return Envelope(data=None)


@router.get("/{role_id}/users", dependencies=[GuardedRoute])
async def list_role_users(
    role_id: UUID,
    query: Annotated[PageQuery[SortOfUsers], Query()],
    list_role_users: UseCase[ListRoleUsers],
) -> Envelope[Page[ListedUserBody]]:
    """List the users who have a role. The default order is by username."""
    found, roles = await list_role_users(RoleId(role_id), query.request())
    return Envelope(
        data=Page.of(
            found, query, lambda user: ListedUserBody.of_listed(user, roles.get(user.id, ()))
        )
    )
