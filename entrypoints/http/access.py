"""Roles: what they give, and who has them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query
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
from bootstrap import Container
from domain.access import Grant, Role, RoleId, RoleStatus, RoleSummary, RoleText
from entrypoints.http.envelope import (
    ApiModel,
    CreatedEnvelope,
    Envelope,
    MayBeLeftOut,
    Parsed,
    locate,
)
from entrypoints.http.identity.bodies import ListedUserBody, RoleCodeField, SortOfUsers
from entrypoints.http.paging import Keyword, Page, PageQuery
from entrypoints.http.preconditions import ConditionalChangeDep, VersionedChangeDep, tag
from entrypoints.http.query_types import Flag
from entrypoints.http.security import (
    AuthenticatedRoute,
    CallerDep,
    GuardedRoute,
    VerifyPermissionDep,
)
from entrypoints.http.wiring import use_case

router = APIRouter(prefix="/roles", tags=["access"])

CreateRoleDep = Annotated[CreateRole, Depends(use_case(Container.create_role))]
ReplaceRoleDep = Annotated[ReplaceRole, Depends(use_case(Container.replace_role))]
DeleteRolesDep = Annotated[DeleteRoles, Depends(use_case(Container.delete_roles))]
GetRoleDep = Annotated[GetRole, Depends(use_case(Container.get_role))]
ListRolesDep = Annotated[ListRoles, Depends(use_case(Container.list_roles))]
ListAllRolesDep = Annotated[ListAllRoles, Depends(use_case(Container.list_all_roles))]
ListOwnRolesDep = Annotated[ListOwnRoles, Depends(use_case(Container.list_own_roles))]
ListRoleUsersDep = Annotated[ListRoleUsers, Depends(use_case(Container.list_role_users))]


# --- bodies -------------------------------------------------------------------------------------

NameField = Annotated[
    str,
    Parsed(RoleText.NAME.parse, RoleText.NAME.length),
    Field(
        description="2 to 100 characters on one line; unique, upper and lower case aside.",
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
            "Permission codes as `GET /router/backend` lists them, or up to 50 patterns of up to 16 segments, in which "
            "`*` stands for one method or one segment of the path, and `**`, at the end, for any number of segments."
        ),
        examples=[["GET:/api/v1/users/{user_id}", "*:/api/v1/roles/**"]],
    ),
]
ButtonsField = Annotated[
    Sequence[Annotated[str, Parsed(RoleText.BUTTON.parse, RoleText.BUTTON.length)]],
    Field(max_length=1000, description="For front ends, as they are.", examples=[["user.create"]]),
]
RoutersField = Annotated[
    Sequence[Annotated[str, Parsed(RoleText.ROUTER.parse, RoleText.ROUTER.length)]],
    Field(max_length=1000, description="For front ends, as they are.", examples=[["/users"]]),
]
_FORCE = Field(description="Take the role from those who have it.")


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
    """Which roles to list; each filter narrows."""

    keyword: MayBeLeftOut[Keyword] = Field(
        default=None,
        description="A literal part of the name or the code, upper and lower case aside.",
    )
    status: MayBeLeftOut[RoleStatus] = None

    def filter(self) -> RoleFilter:
        """Return what the use case is asked for."""
        return RoleFilter(keyword=self.keyword, status=self.status)


class RoleDraftBody(ApiModel):
    """What a role shall be; what is left out is empty."""

    code: RoleCodeField
    name: NameField
    description: DescriptionField = ""
    status: RoleStatus = Field(
        default=RoleStatus.ACTIVE, description="A disabled role gives nothing."
    )
    permissions: GrantsField = ()
    button_permissions: ButtonsField = ()
    router_permissions: RoutersField = ()

    def draft(self) -> RoleDraft:
        """Return what the use case is asked for."""
        return RoleDraft(
            code=self.code,
            name=self.name,
            description=self.description,
            status=self.status,
            grants=frozenset(self.permissions),
            buttons=frozenset(self.button_permissions),
            routers=frozenset(self.router_permissions),
        )


class ListedRoleBody(ApiModel):
    """A role without what it gives, which `GET /roles/{role_id}` shows."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b23"])
    code: str = Field(examples=["editor"])
    name: str = Field(examples=["Editor"])
    description: str = Field(examples=["Writes and corrects."])
    status: RoleStatus = Field(description="A disabled role gives nothing.", examples=["active"])
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    updated_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])

    @classmethod
    def of_listed(cls, role: RoleSummary) -> Self:
        """Present `role`."""
        return cls(**_of_role(role))


class RoleBody(ListedRoleBody):
    """A role."""

    permissions: Sequence[str] = Field(
        description="Permission codes and patterns.",
        examples=[["GET:/api/v1/users/{user_id}", "*:/api/v1/roles/**"]],
    )
    button_permissions: Sequence[str] = Field(
        description="For front ends, as they are.", examples=[["user.create"]]
    )
    router_permissions: Sequence[str] = Field(
        description="For front ends, as they are.", examples=[["/users"]]
    )

    @classmethod
    def of(cls, role: Role) -> Self:
        """Present `role`."""
        return cls(
            **_of_role(role.summary()),
            permissions=sorted(grant.value for grant in role.grants),
            button_permissions=sorted(role.buttons),
            router_permissions=sorted(role.routers),
        )


def _of_role(role: RoleSummary) -> dict[str, Any]:
    return {
        "id": role.id,
        "code": role.code.value,
        "name": role.name,
        "description": role.description,
        "status": role.status,
        "created_at": role.created_at,
        "updated_at": role.updated_at,
    }


def _distinct(ids: Sequence[UUID]) -> Sequence[UUID]:
    if len(set(ids)) < len(ids):
        raise ValueError("Input should not have the same id twice")
    return ids


class DeleteRolesBody(ApiModel):
    """Which roles to remove: all of them, or none."""

    ids: Annotated[
        Sequence[UUID],
        AfterValidator(_distinct),
        Field(
            min_length=1,
            max_length=100,
            description="Each once.",
            examples=[["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b23"]],
            json_schema_extra={"uniqueItems": True},
        ),
    ]
    force: Annotated[StrictBool, _FORCE] = False


# --- routes -------------------------------------------------------------------------------------


@router.get("", dependencies=[GuardedRoute])
async def list_roles(
    query: Annotated[RoleQuery, Query()], list_roles: ListRolesDep
) -> Envelope[Page[ListedRoleBody]]:
    """List roles, ordered by code unless `sort` says otherwise."""
    found = await list_roles(query.filter(), query.request())
    return Envelope(data=Page.of(found, query, ListedRoleBody.of_listed))


@router.get("/all", dependencies=[GuardedRoute])
async def list_all_roles(list_all_roles: ListAllRolesDep) -> Envelope[Sequence[ListedRoleBody]]:
    """List every role, for a form to choose from."""
    return Envelope(data=[ListedRoleBody.of_listed(role) for role in await list_all_roles()])


@router.get("/mine", dependencies=[AuthenticatedRoute])
async def list_own_roles(
    caller: CallerDep, list_own_roles: ListOwnRolesDep
) -> Envelope[Sequence[ListedRoleBody]]:
    """List the caller's roles, disabled ones too."""
    return Envelope(data=[ListedRoleBody.of_listed(role) for role in await list_own_roles(caller)])


@router.get("/{role_id}", dependencies=[GuardedRoute])
async def get_role(role_id: UUID, get_role: GetRoleDep, response: Response) -> Envelope[RoleBody]:
    """Show a role."""
    role = await get_role(RoleId(role_id))
    tag(response, role.updated_at)
    return Envelope(data=RoleBody.of(role))


@router.post("", status_code=201, dependencies=[GuardedRoute])
async def create_role(
    body: RoleDraftBody,
    caller: VerifyPermissionDep,
    create_role: CreateRoleDep,
    request: Request,
    response: Response,
) -> CreatedEnvelope[RoleBody]:
    """Make a role that gives nothing the caller does not hold."""
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
    replace_role: ReplaceRoleDep,
) -> Envelope[RoleBody]:
    """Make a role what the body says; in force at the next request of everybody who has it."""
    role = await replace_role(caller, RoleId(role_id), body.draft(), expected=change.expected)
    change.tag(role.updated_at)
    return Envelope(data=RoleBody.of(role))


@router.delete("/{role_id}", dependencies=[GuardedRoute])
async def delete_role(
    role_id: UUID,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    delete_roles: DeleteRolesDep,
    force: Annotated[Flag, _FORCE, Query()] = False,  # noqa: FBT002 - a parameter of the query
) -> Envelope[None]:
    """Remove a role."""
    await delete_roles(caller, [RoleId(role_id)], force=force, expected=change.expected)
    return Envelope(data=None)


@router.delete("", dependencies=[GuardedRoute])
async def delete_roles(
    body: DeleteRolesBody, caller: VerifyPermissionDep, delete_roles: DeleteRolesDep
) -> Envelope[None]:
    """Remove roles, all of them or none."""
    await delete_roles(caller, [RoleId(role_id) for role_id in body.ids], force=body.force)
    return Envelope(data=None)


@router.get("/{role_id}/users", dependencies=[GuardedRoute])
async def list_role_users(
    role_id: UUID,
    query: Annotated[PageQuery[SortOfUsers], Query()],
    list_role_users: ListRoleUsersDep,
) -> Envelope[Page[ListedUserBody]]:
    """List who has a role, ordered by username unless `sort` says otherwise."""
    found, roles = await list_role_users(RoleId(role_id), query.request())
    return Envelope(
        data=Page.of(
            found, query, lambda user: ListedUserBody.of_listed(user, roles.get(user.id, ()))
        )
    )
