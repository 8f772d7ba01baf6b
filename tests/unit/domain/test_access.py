"""What a user may do, and may let others do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import Access, BeyondOwnAccess, check_ceiling
from domain.grants import Grant, Grants
from domain.roles import RoleStatus, grants_of
from tests.support.builders import a_role
from tests.support.grants import CODES, GRANTS


def somebody(*grants: str, is_admin: bool = False) -> Access:
    return Access(
        is_active=True,
        is_admin=is_admin,
        must_change_password=False,
        grants=Grants.of(map(Grant, grants)),
    )


def test_without_roles_nothing_is_allowed() -> None:
    assert not grants_of([]).allow("GET:/a")
    assert not somebody().allows("GET:/a")


def test_an_administrator_may_use_everything() -> None:
    assert somebody(is_admin=True).allows("DELETE:/anything")


# --- the ceiling --------------------------------------------------------------------------------


def test_users_cannot_give_a_code_they_do_not_hold() -> None:
    with pytest.raises(BeyondOwnAccess) as refusal:
        check_ceiling(somebody("GET:/a"), [a_role("GET:/a", "PUT:/a"), a_role("DELETE:/a")])
    assert refusal.value.beyond == ("DELETE:/a", "PUT:/a")


def test_users_cannot_give_a_button_or_a_router_they_do_not_hold() -> None:
    """Opaque to us, they may well open something in the front end."""
    role = a_role(buttons=frozenset({"create", "delete"}), routers=frozenset({"/users", "/roles"}))
    held = a_role(buttons=frozenset({"create"}), routers=frozenset({"/users"}))
    holder = replace(somebody(), grants=grants_of([held]))
    check_ceiling(holder, [held])
    with pytest.raises(BeyondOwnAccess) as refusal:
        check_ceiling(holder, [role])
    assert refusal.value.beyond == ("button delete", "router /roles")
    with pytest.raises(BeyondOwnAccess):
        check_ceiling(somebody("*:**"), [replace(held, status=RoleStatus.DISABLED)])
    check_ceiling(somebody(is_admin=True), [role])


def test_grants_from_before_may_stay() -> None:
    role = a_role("PUT:/a", buttons=frozenset("b"), routers=frozenset("r"))
    check_ceiling(somebody(), [role], already=[role])


def test_the_holder_of_a_pattern_gives_any_part_of_it_but_not_more() -> None:
    caller = somebody("*:/a/**")
    check_ceiling(caller, [a_role("GET:/a/b", "PUT:/a/*", "*:/a/b/**")])
    for more in ("*:**", "GET:**", "*:/*", "GET:/**"):
        with pytest.raises(BeyondOwnAccess):
            check_ceiling(caller, [a_role(more)])


def test_an_administrator_gives_anything() -> None:
    check_ceiling(somebody(is_admin=True), [a_role("*:**")])


@given(held=st.lists(GRANTS, max_size=4), wanted=st.lists(GRANTS, max_size=4), code=CODES)
def test_a_receiver_can_do_no_more_than_the_giver(
    held: list[str], wanted: list[str], code: str
) -> None:
    try:
        check_ceiling(somebody(*held), [a_role(*wanted)])
    except BeyondOwnAccess:
        return
    assert not somebody(*wanted).allows(code) or somebody(*held).allows(code)
