"""JSON bodies of users, and the fields of an encrypted password."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import Field

from domain.identity import Email, PersonName, User, Username, UserStatus
from domain.roles import Role, RoleCode, RoleSummary
from entrypoints.http.envelope import ApiModel, Parsed, Plain, Text

# Longer than any body that the routes of authentication accept: the use case gives the same answer for everything
# that is wrong with a ciphertext, its length included.
_Ciphertext = Annotated[
    str,
    Field(
        max_length=16384,
        description="The encrypted password: base64 of RSA-OAEP (SHA-256, MGF1-SHA-256, no label).",
        examples=["q2uWb3…base64…pA=="],
    ),
]
Ciphertext = Annotated[_Ciphertext, Field(repr=False)]
CiphertextOrNone = Annotated[_Ciphertext | None, Field(repr=False)]
KeyId = Annotated[
    Text | None,
    Field(
        description="The `kid` of the public key that was used. Default: the current key.",
        examples=["m1p0HcV3TzD9o2gq8x7yJb6sR4uWnKfE5aLiQwZtXhM"],
    ),
]
UsernameField = Annotated[
    Username,
    Parsed(Username, Username.LENGTH),
    Field(
        description=(
            "2 to 100 characters of one script, without white space or @. Unique; case and look-alike characters "
            "make no difference."
        ),
        examples=["ada.lovelace"],
    ),
]
EmailField = Annotated[
    Email,
    Parsed(Email, Email.LENGTH),
    Field(
        description=(
            "At most 254 characters, each part of one script. Unique; case makes no difference, nor does Punycode."
        ),
        examples=["ada@example.org"],
    ),
]
NameField = Annotated[
    PersonName,
    Parsed(PersonName, PersonName.LENGTH),
    Field(description="2 to 100 characters on one line.", examples=["Ada Lovelace"]),
]


RoleCodeField = Annotated[
    RoleCode,
    Parsed(RoleCode, RoleCode.LENGTH),
    Field(
        description="2 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`, a letter first. Unique; case is ignored.",
        examples=["editor"],
    ),
]

SortOfUsers: TypeAlias = Literal[
    "username", "-username", "email", "-email", "name", "-name", "createdAt", "-createdAt"
]

EVERYTHING = "*:**"
"""The pattern that matches every permission. Administrators have it."""


class ListedUserBody(ApiModel):
    """A user, with the codes of their roles."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"])
    username: Plain = Field(examples=["ada.lovelace"])
    email: Plain = Field(examples=["ada@example.org"])
    name: Plain = Field(examples=["Ada Lovelace"])
    status: UserStatus = Field(examples=["active"])
    is_admin: bool = Field(description="Administrators may do everything.", examples=[False])
    must_change_password: bool = Field(
        description="If true, this user can only read their own profile, change the password and log out.",
        examples=[False],
    )
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    updated_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    password_changed_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    last_login_at: datetime | None = Field(examples=["2026-01-02T08:30:00Z"])
    roles: Sequence[str] = Field(
        description="The codes of the user's roles, including disabled ones.", examples=[["editor"]]
    )

    @classmethod
    def of_listed(cls, user: User, roles: Sequence[RoleSummary | Role]) -> Self:
        """Present `user`, who has these roles."""
        return cls.present(user, roles=_codes(roles))


class UserBody(ListedUserBody):
    """A user, with their permissions."""

    permission_codes: Sequence[str] = Field(
        description="The permissions of the active roles: `METHOD:/path/template`, or a pattern.",
        examples=[["GET:/api/v1/users/{user_id}", "*:/api/v1/roles/**"]],
    )
    button_permissions: Sequence[str] = Field(
        description="Names from the active roles that front ends interpret.",
        examples=[["user.create"]],
    )
    router_permissions: Sequence[str] = Field(
        description="Names from the active roles that front ends interpret.", examples=[["/users"]]
    )

    @classmethod
    def of(cls, user: User, roles: Sequence[Role]) -> Self:
        """Present `user` and the permissions of their `roles`."""
        active = [role for role in roles if role.is_active]
        grants = {grant.value for role in active for grant in role.grants}
        return cls.present(
            user,
            roles=_codes(roles),
            permission_codes=[EVERYTHING] if user.is_admin else sorted(grants),
            button_permissions=sorted({button for role in active for button in role.buttons}),
            router_permissions=sorted({router for role in active for router in role.routers}),
        )


def _codes(roles: Sequence[RoleSummary | Role]) -> Sequence[str]:
    return sorted(role.code.value for role in roles)
