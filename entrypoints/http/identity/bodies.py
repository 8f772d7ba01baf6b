"""What users look like in bodies, and how a password travels in one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import Field

from domain.access import Role, RoleCode, RoleSummary
from domain.identity import Email, PersonName, User, Username, UserStatus
from entrypoints.http.envelope import ApiModel, Parsed, Text

# Longer than a body on the routes of authentication may be: whatever is wrong with a ciphertext, its length
# included, is for the use case to answer, and it answers all of it alike.
_Ciphertext = Annotated[
    str,
    Field(
        max_length=16384,
        description="The password under the public key: base64 of RSA-OAEP (SHA-256, MGF1-SHA-256, no label).",
        examples=["q2uWb3…base64…pA=="],
    ),
]
Ciphertext = Annotated[_Ciphertext, Field(repr=False)]
CiphertextOrNone = Annotated[_Ciphertext | None, Field(repr=False)]
KeyId = Annotated[
    Text | None,
    Field(
        description="Which public key was used; without it, the current one.",
        examples=["m1p0HcV3TzD9o2gq8x7yJb6sR4uWnKfE5aLiQwZtXhM"],
    ),
]
UsernameField = Annotated[
    Username,
    Parsed(Username, Username.LENGTH),
    Field(
        description=(
            "2 to 100 characters of one script, without white space or @; unique: neither upper and lower case nor "
            "a look-alike makes another one."
        ),
        examples=["ada.lovelace"],
    ),
]
EmailField = Annotated[
    Email,
    Parsed(Email, Email.LENGTH),
    Field(
        description=(
            "At most 254 characters, each part of one script; unique, upper and lower case aside, in Unicode or in "
            "Punycode."
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
        description="2 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`, a letter first; unique, upper and lower case aside.",
        examples=["editor"],
    ),
]

SortOfUsers: TypeAlias = Literal[
    "username", "-username", "email", "-email", "name", "-name", "createdAt", "-createdAt"
]

EVERYTHING = "*:**"
"""The pattern that covers every permission, which administrators have."""


class ListedUserBody(ApiModel):
    """A user, and which roles they have."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"])
    username: str = Field(examples=["ada.lovelace"])
    email: str = Field(examples=["ada@example.org"])
    name: str = Field(examples=["Ada Lovelace"])
    status: UserStatus = Field(examples=["active"])
    is_admin: bool = Field(description="Administrators may do everything.", examples=[False])
    must_change_password: bool = Field(
        description="If true, nothing but this, the change of password and log-out is open.",
        examples=[False],
    )
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    updated_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    password_changed_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    last_login_at: datetime | None = Field(examples=["2026-01-02T08:30:00Z"])
    roles: Sequence[str] = Field(
        description="The codes of the user's roles, disabled ones too.", examples=[["editor"]]
    )

    @classmethod
    def of_listed(cls, user: User, roles: Sequence[RoleSummary | Role]) -> Self:
        """Present `user`, who has these roles."""
        return cls(**_of_user(user, roles))


class UserBody(ListedUserBody):
    """A user, and what they may do."""

    permission_codes: Sequence[str] = Field(
        description="What the active roles allow: `METHOD:/path/template`, or a pattern.",
        examples=[["GET:/api/v1/users/{user_id}", "*:/api/v1/roles/**"]],
    )
    button_permissions: Sequence[str] = Field(
        description="For front ends; of the active roles.", examples=[["user.create"]]
    )
    router_permissions: Sequence[str] = Field(
        description="For front ends; of the active roles.", examples=[["/users"]]
    )

    @classmethod
    def of(cls, user: User, roles: Sequence[Role]) -> Self:
        """Present `user` and what their `roles` give."""
        active = [role for role in roles if role.is_active]
        grants = {grant.value for role in active for grant in role.grants}
        return cls(
            **_of_user(user, roles),
            permission_codes=[EVERYTHING] if user.is_admin else sorted(grants),
            button_permissions=sorted({button for role in active for button in role.buttons}),
            router_permissions=sorted({router for role in active for router in role.routers}),
        )


def _of_user(user: User, roles: Sequence[RoleSummary | Role]) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username.value,
        "email": user.email.value,
        "name": user.name.value,
        "status": user.status,
        "is_admin": user.is_admin,
        "must_change_password": user.must_change_password,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "password_changed_at": user.password_changed_at,
        "last_login_at": user.last_login_at,
        "roles": sorted(role.code.value for role in roles),
    }
