"""Roles: their fields, and what they give."""

from uuid import UUID

import pytest

from domain.roles import InvalidRole, Role, RoleCode, RoleId, RoleStatus, grants_of
from tests.support.builders import A_MOMENT, a_role


@pytest.mark.parametrize(
    "code", ["ed", "editor", "team-a.editor_2", "x" * 64, "ROLE_ADMIN", "R_SUPER"]
)
def test_the_code_of_a_role_is_a_short_name(code: str) -> None:
    assert RoleCode(code).value == code


@pytest.mark.parametrize(
    "code", ["", "e", "2nd", "an editor", "é-editor", "\u212aeeper", "_x", "x" * 65, "ab\n"]
)
def test_the_code_of_a_role_is_nothing_else(code: str) -> None:
    with pytest.raises(InvalidRole):
        RoleCode(code)


def test_the_code_of_a_role_keeps_its_case_and_is_compared_without() -> None:
    one, other = RoleCode("ROLE_Admin"), RoleCode("role_ADMIN")
    assert (one.value, other.value) == ("ROLE_Admin", "role_ADMIN")
    assert one == other
    assert len({one, other}) == 1
    assert one != RoleCode("ROLE_USER")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "x"),
        ("name", "x" * 101),
        ("name", "two\nlines"),
        ("description", "x" * 501),
        ("description", "\x00"),
        ("buttons", frozenset({""})),
        ("buttons", frozenset({"x" * 201})),
        ("routers", frozenset({"a\nb"})),
    ],
)
def test_a_role_with_a_wrong_field_cannot_be_made(name: str, value: object) -> None:
    fields = {
        "id": RoleId(UUID(int=1)),
        "code": RoleCode("editor"),
        "name": "Editor",
        "created_at": A_MOMENT,
        "updated_at": A_MOMENT,
    }
    with pytest.raises(InvalidRole):
        Role(**(fields | {name: value}))  # type: ignore[arg-type]  # wrong on purpose


def test_a_role_is_named_without_white_space_around_it_and_described_in_lines() -> None:
    role = Role(
        id=RoleId(UUID(int=1)),
        code=RoleCode("editor"),
        name=" Editor of news ",
        description=" two\nlines ",
        created_at=A_MOMENT,
        updated_at=A_MOMENT,
    )
    assert (role.name, role.description) == ("Editor of news", "two\nlines")


def test_a_disabled_role_gives_nothing() -> None:
    roles = [a_role("GET:/a"), a_role("PUT:/a", "*:/b/**", status=RoleStatus.DISABLED)]
    given_ = grants_of(roles)
    assert given_.allow("GET:/a")
    assert not given_.allow("PUT:/a")
    assert not given_.allow("GET:/b/c")
