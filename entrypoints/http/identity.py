"""Accounts: registration, the caller's own data, and the change of a password."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import Field, field_validator

from application.use_cases.identity import ChangePassword, Register, UpdateProfile
from bootstrap import Container
from domain.identity import Email, PersonName, User, Username, UserStatus
from domain.sessions import SealedPassword
from entrypoints.http.envelope import Body, Created, Response, Text
from entrypoints.http.security import (
    AnyPasswordCallerDep,
    AuthenticatedRoute,
    CallerDep,
    DeviceDep,
    OneTimePasswordRoute,
    PublicRoute,
)
from entrypoints.http.wiring import use_case

router = APIRouter(prefix="/auth", tags=["identity"])

RegisterDep = Annotated[Register, Depends(use_case(Container.register))]
UpdateProfileDep = Annotated[UpdateProfile, Depends(use_case(Container.update_profile))]
ChangePasswordDep = Annotated[ChangePassword, Depends(use_case(Container.change_password))]

# Longer than a body here may be: whatever is wrong with a ciphertext, its length included, is for
# the use case to answer, and it answers all of it alike.
Ciphertext = Annotated[
    str,
    Field(
        max_length=16384,
        repr=False,
        description="The password under the public key: base64 of RSA-OAEP (SHA-256, MGF1-SHA-256, no label).",
        examples=["q2uWb3…base64…pA=="],
    ),
]
KeyId = Annotated[
    Text | None,
    Field(
        description="Which public key was used; without it, the current one.",
        examples=["m1p0HcV3TzD9o2gq8x7yJb6sR4uWnKfE5aLiQwZtXhM"],
    ),
]
UsernameText = Annotated[
    Text,
    Field(
        description="5 to 100 characters, without white space or @; unique, upper and lower case aside.",
        examples=["ada.lovelace"],
    ),
]
EmailText = Annotated[
    Text,
    Field(
        description="At most 254 characters; unique, upper and lower case aside.",
        examples=["ada@example.org"],
    ),
]
NameText = Annotated[
    Text, Field(description="2 to 100 characters on one line.", examples=["Ada Lovelace"])
]


# --- bodies -------------------------------------------------------------------------------------


class UserBody(Body):
    """A user, as they see themselves."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"])
    username: str = Field(examples=["ada.lovelace"])
    email: str = Field(examples=["ada@example.org"])
    name: str = Field(examples=["Ada Lovelace"])
    status: UserStatus = Field(examples=["active"])
    is_admin: bool = Field(examples=[False])
    must_change_password: bool = Field(
        description="If true, nothing but this, the change of password and log-out is open.",
        examples=[False],
    )
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    updated_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    password_changed_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    last_login_at: datetime | None = Field(examples=["2026-01-02T08:30:00Z"])
    roles: Sequence[str] = Field(default=(), description="The codes of the user's roles.")
    permission_codes: Sequence[str] = Field(
        default=(), description="What the roles allow: `METHOD:/path/template`, or a pattern."
    )
    button_permissions: Sequence[str] = Field(default=(), description="For front ends.")
    router_permissions: Sequence[str] = Field(default=(), description="For front ends.")

    @classmethod
    def of(cls, user: User) -> Self:
        """Present `user`."""
        return cls(
            id=user.id,
            username=user.username.value,
            email=user.email.value,
            name=user.name.value,
            status=user.status,
            is_admin=user.is_admin,
            must_change_password=user.must_change_password,
            created_at=user.created_at,
            updated_at=user.updated_at,
            password_changed_at=user.password_changed_at,
            last_login_at=user.last_login_at,
        )


class RegisterBody(Body):
    """A new account."""

    username: UsernameText
    email: EmailText
    name: NameText
    password: Ciphertext
    kid: KeyId = None


def _never_null(schema: dict[str, Any]) -> None:
    """Describe a field that may be left out and may not be null."""
    schema |= next(branch for branch in schema.pop("anyOf") if branch != {"type": "null"})
    del schema["default"]


class UpdateProfileBody(Body):
    """What changes; what is left out stays."""

    name: NameText | None = Field(default=None, json_schema_extra=_never_null)
    email: EmailText | None = Field(default=None, json_schema_extra=_never_null)

    @field_validator("name", "email", mode="before")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("Input should not be null; leave the field out")
        return value


class ChangePasswordBody(Body):
    """The present and the new password, each encrypted on its own."""

    old_password: Ciphertext
    new_password: Ciphertext
    kid: KeyId = None


# --- routes -------------------------------------------------------------------------------------


@router.post("/register", status_code=201, dependencies=[PublicRoute])
async def register(
    body: RegisterBody, device: DeviceDep, register: RegisterDep
) -> Created[UserBody]:
    """Make an account of one's own, where registration is open."""
    user = await register(
        Username(body.username),
        Email(body.email),
        PersonName(body.name),
        SealedPassword(body.password, body.kid),
        device,
    )
    return Created(data=UserBody.of(user))


@router.get("/user/info", dependencies=[OneTimePasswordRoute])
async def get_user_info(caller: AnyPasswordCallerDep) -> Response[UserBody]:
    """Show the caller's own data and what they may do."""
    return Response(data=UserBody.of(caller.user))


@router.patch("/user/info", dependencies=[AuthenticatedRoute])
async def update_profile(
    body: UpdateProfileBody, caller: CallerDep, update_profile: UpdateProfileDep
) -> Response[UserBody]:
    """Change how the caller is called and reached."""
    user = await update_profile(
        caller,
        name=None if body.name is None else PersonName(body.name),
        email=None if body.email is None else Email(body.email),
    )
    return Response(data=UserBody.of(user))


@router.post("/password", dependencies=[OneTimePasswordRoute])
async def change_password(
    body: ChangePasswordBody,
    caller: AnyPasswordCallerDep,
    device: DeviceDep,
    change_password: ChangePasswordDep,
) -> Response[None]:
    """Change the caller's password and end all their other sessions."""
    await change_password(
        caller,
        SealedPassword(body.old_password, body.kid),
        SealedPassword(body.new_password, body.kid),
        device,
    )
    return Response(data=None)
