"""The management of users: list, create, change, delete."""

from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

from fastapi import Query
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from application.ports.users import UserFilter
from application.use_cases.identity.changes import ChangeUser, UserChange
from application.use_cases.identity.users import (
    CreateUser,
    DeleteUser,
    GetUser,
    ListUsers,
    NewUser,
    ResetPassword,
    UserDraft,
)
from domain.identity import UserId, UserStatus
from domain.password_transport import SealedPassword
from entrypoints.http.envelope import ApiModel, CreatedEnvelope, Envelope, MayBeLeftOut, locate
from entrypoints.http.identity.bodies import (
    CiphertextOrNone,
    EmailField,
    KeyId,
    ListedUserBody,
    NameField,
    RoleCodeField,
    SortOfUsers,
    UserBody,
    UsernameField,
)
from entrypoints.http.paging import Keyword, Page, PageQuery
from entrypoints.http.preconditions import ConditionalChangeDep, tag
from entrypoints.http.router import Router
from entrypoints.http.security import GuardedRoute, VerifyPermissionDep
from entrypoints.wiring import UseCase

router = Router(prefix="/users")


# --- bodies -------------------------------------------------------------------------------------

RoleCodes = Annotated[
    Sequence[RoleCodeField], Field(max_length=100, description="The codes of the user's roles.")
]
Administration = Annotated[
    StrictBool,
    Field(
        description="Whether the user is an administrator. Only administrators can set it.",
        examples=[False],
    ),
]
Status = Annotated[
    UserStatus,
    Field(description="A disabled user loses all access at once.", examples=["active"]),
]


class UserQuery(PageQuery[SortOfUsers]):
    """Filters of the list; all of them must match."""

    keyword: MayBeLeftOut[Keyword] = Field(
        default=None,
        description="A part of the username, the email or the name. Case is ignored; there are no wildcards.",
    )
    status: MayBeLeftOut[UserStatus] = None
    role: MayBeLeftOut[RoleCodeField] = Field(
        default=None, description="The code of a role. Only users with this role are listed."
    )


class CreateUserBody(ApiModel):
    """A new user. If `password` is left out, the server generates a one-time password."""

    username: UsernameField
    email: EmailField
    name: NameField
    password: CiphertextOrNone = None
    kid: KeyId = None
    status: Status = UserStatus.ACTIVE
    is_admin: Administration = False
    roles: RoleCodes = ()

    def draft(self) -> UserDraft:
        """Return the argument of the use case."""
        return self.argument(
            UserDraft,
            password=None if self.password is None else SealedPassword(self.password, self.kid),
            roles=frozenset(self.roles),
        )


class ChangeUserBody(ApiModel):
    """The properties to change. A property that is left out stays as it is."""

    username: MayBeLeftOut[UsernameField] = None
    email: MayBeLeftOut[EmailField] = None
    name: MayBeLeftOut[NameField] = None
    status: MayBeLeftOut[Status] = None
    is_admin: MayBeLeftOut[Administration] = None
    roles: MayBeLeftOut[RoleCodes] = None

    def change(self) -> UserChange:
        """Return the argument of the use case."""
        roles = None if self.roles is None else frozenset(self.roles)
        return self.argument(UserChange, roles=roles)


class NewUserBody(UserBody):
    """A user who was created, or whose password was reset."""

    one_time_password: str | None = Field(
        description="Shown only once; valid for one log-in within 24 hours. Null if the request had a password.",
        examples=["k7f3p-2m9xq-w4t8h-6b5nd"],
    )

    @classmethod
    def of_new(cls, new: NewUser) -> Self:
        """Present `new`."""
        user = UserBody.of(new.user, new.roles)
        return cls.present(user, one_time_password=new.one_time_password)


# --- routes -------------------------------------------------------------------------------------


@router.get("", dependencies=[GuardedRoute])
async def list_users(
    query: Annotated[UserQuery, Query()], list_users: UseCase[ListUsers]
) -> Envelope[Page[ListedUserBody]]:
    """List users. The default order is by username."""
    found = await list_users(query.argument(UserFilter), query.request())
    return Envelope(
        data=Page.of(found, query, lambda one: ListedUserBody.of_listed(one.user, one.roles))
    )


@router.get("/{user_id}", dependencies=[GuardedRoute])
async def get_user(
    user_id: UUID, get_user: UseCase[GetUser], response: Response
) -> Envelope[UserBody]:
    """Get a user with their roles and permissions."""
    found = await get_user(UserId(user_id))
    tag(response, found.user.updated_at)
    return Envelope(data=UserBody.of(found.user, found.roles))


@router.post("", status_code=201, dependencies=[GuardedRoute])
async def create_user(
    body: CreateUserBody,
    caller: VerifyPermissionDep,
    create_user: UseCase[CreateUser],
    request: Request,
    response: Response,
) -> CreatedEnvelope[NewUserBody]:
    """Create a user. Callers can grant only roles whose permissions they have."""
    new = await create_user(caller, body.draft())
    locate(request, response, f"users/{new.user.id}")
    tag(response, new.user.updated_at)
    return CreatedEnvelope(data=NewUserBody.of_new(new))


@router.patch("/{user_id}", dependencies=[GuardedRoute])
async def change_user(
    user_id: UUID,
    body: ChangeUserBody,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    change_user: UseCase[ChangeUser],
) -> Envelope[UserBody]:
    """Change a user's data, status or roles. The change applies from the user's next request."""
    changed = await change_user(caller, UserId(user_id), body.change(), expected=change.expected)
    change.tag(changed.user.updated_at)
    return Envelope(data=UserBody.of(changed.user, changed.roles))


@router.delete("/{user_id}", dependencies=[GuardedRoute])
async def delete_user(
    user_id: UUID,
    change: ConditionalChangeDep,
    caller: VerifyPermissionDep,
    delete_user: UseCase[DeleteUser],
) -> Envelope[None]:
    """Delete a user and end their sessions. Their audit entries stay."""
    await delete_user(caller, UserId(user_id), expected=change.expected)
    return Envelope(data=None)


@router.post("/{user_id}/password", dependencies=[GuardedRoute])
async def reset_password(
    user_id: UUID,
    caller: VerifyPermissionDep,
    reset_password: UseCase[ResetPassword],
    response: Response,
) -> Envelope[NewUserBody]:
    """Replace a user's password by a one-time password, and end their sessions."""
    new = await reset_password(caller, UserId(user_id))
    tag(response, new.user.updated_at)
    return Envelope(data=NewUserBody.of_new(new))
