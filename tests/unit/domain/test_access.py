"""Permission codes, patterns, roles, and who may grant what."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import Access, BeyondOwnAccess, check_ceiling
from domain.grants import Grant, Grants, InvalidGrant, PermissionCode, stored_grants
from domain.roles import InvalidRole, Role, RoleCode, RoleId, RoleStatus, grants_of
from tests.support.builders import A_MOMENT

ROLES = "/api/v1/roles"


def a_role(*grants: str, code: str = "editor", **changes: object) -> Role:
    role = Role(
        id=RoleId(UUID(int=1)),
        code=RoleCode(code),
        name="Editor",
        grants=frozenset(map(Grant, grants)),
        created_at=A_MOMENT,
        updated_at=A_MOMENT,
    )
    for name, value in changes.items():
        setattr(role, name, value)
    return role


def somebody(*grants: str, is_admin: bool = False) -> Access:
    return Access(
        is_active=True,
        is_admin=is_admin,
        must_change_password=False,
        grants=Grants.of(map(Grant, grants)),
    )


# --- codes and patterns -------------------------------------------------------------------------


def test_a_code_is_the_method_and_the_full_template_of_the_path() -> None:
    assert PermissionCode.of("PUT", f"{ROLES}/{{role_id}}").value == f"PUT:{ROLES}/{{role_id}}"


def test_head_needs_what_get_needs() -> None:
    assert PermissionCode.of("HEAD", ROLES) == PermissionCode.of("GET", ROLES)


@pytest.mark.parametrize(
    "text",
    [
        f"GET:{ROLES}/{{role_id}}",
        "EVENT:chat.send",
        "GET:/",
        f"*:{ROLES}/**",
        "GET:**",
        "*:**",
        "GET:/a/*/b",
        "GET:" + "/*" * 16,
        "GET:" + "/a" * 20,
        "GET:" + "/a" * 15 + "/**",
    ],
)
def test_a_grant_is_a_code_or_a_pattern(text: str) -> None:
    assert Grant(text).value == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET",
        "GET:",
        ":/a",
        "get:/a",
        "GET /a",
        "GET:/a b",
        "GET:/a\n",
        "GET:/a\x00",
        "GET:/ä",
        "GET:/a*",
        "GET:/***",
        "GET:*",
        "G*T:/a",
        "**:/a",
        "GET:/" + "a" * 300,
        "GET:" + "/*" * 17,
        "GET:" + "/a" * 16 + "/**",
        "GET:/**/b",
        "GET:/a/**/b/**",
        "GET:**/b",
        "*:/" + "a" * 300,
    ],
)
def test_anything_else_is_no_grant(text: str) -> None:
    with pytest.raises(InvalidGrant):
        Grant(text)


def test_a_pattern_is_no_code() -> None:
    with pytest.raises(InvalidGrant):
        PermissionCode("GET:/a/*")


def covers(grant: str, code: str) -> bool:
    return Grants.of([Grant(grant)]).allow(code)


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        ("GET:/a", "GET:/a"),
        ("*:/a", "DELETE:/a"),
        ("GET:**", "GET:/a/b/c"),
        ("*:**", "EVENT:chat.send"),
        (f"*:{ROLES}/**", f"POST:{ROLES}"),
        (f"*:{ROLES}/**", f"PUT:{ROLES}/{{role_id}}/users"),
        (f"GET:{ROLES}/*", f"GET:{ROLES}/{{role_id}}"),
        ("GET:/*/users", "GET:/a/users"),
        ("GET:/*/**", "GET:/a/x"),
        ("GET:/a/**", "GET:/a/**"),
    ],
)
def test_a_grant_covers(grant: str, code: str) -> None:
    assert covers(grant, code)


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        ("GET:/a", "GET:/a/"),
        ("GET:/a", "POST:/a"),
        ("GET:**", "POST:/a"),
        (f"*:{ROLES}/**", "GET:/api/v1/roles-of-others"),
        (f"*:{ROLES}/**", "GET:/api/v1"),
        (f"GET:{ROLES}/*", f"GET:{ROLES}"),
        (f"GET:{ROLES}/*", f"GET:{ROLES}/{{role_id}}/users"),
        ("GET:/*/users", "GET:/users/x"),
        ("GET:/*", "GET:/**"),
        ("GET:/*/**", "GET:/**"),
        ("GET:/a/*", "*:/a/*"),
        ("GET:/a/*", "GET:/a/**"),
        ("GET:/a", "GET:/*"),
    ],
)
def test_a_grant_does_not_cover(grant: str, code: str) -> None:
    assert not covers(grant, code)


# Few enough segments to try them all; `z` is in no pattern, so it stands for all those that nobody named.
SEGMENTS = ("a", "b", "z")
PATTERNS = st.tuples(
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=4), st.sampled_from([[], ["**"]])
).map(lambda parts: parts[0] + parts[1])


def matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Tell whether a path is one of a pattern's, as one would explain it."""
    if not pattern:
        return not path
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return any(matches(rest, path[taken:]) for taken in range(len(path) + 1))
    return bool(path) and first in {"*", path[0]} and matches(rest, path[1:])


def paths_of(pattern: Sequence[str], longest: int) -> Iterator[Sequence[str]]:
    """Yield the paths of a pattern of at most `longest` segments."""
    for length in range(longest + 1):
        yield from (
            path for path in itertools.product(SEGMENTS, repeat=length) if matches(pattern, path)
        )


def path_covers(pattern: Sequence[str], other: Sequence[str]) -> bool:
    return covers("GET:/a" + "".join(f"/{s}" for s in pattern), "/".join(["GET:/a", *other]))


@given(pattern=PATTERNS, path=st.lists(st.sampled_from(SEGMENTS), max_size=6))
def test_a_pattern_covers_exactly_the_codes_that_match_it(
    pattern: list[str], path: list[str]
) -> None:
    assert path_covers(pattern, path) == matches(pattern, path)


@given(pattern=PATTERNS, other=PATTERNS)
def test_a_pattern_covers_another_exactly_if_it_allows_all_that_the_other_allows(
    pattern: list[str], other: list[str]
) -> None:
    within = all(matches(pattern, path) for path in paths_of(other, 5))
    assert path_covers(pattern, other) == within


@given(pattern=PATTERNS)
def test_every_pattern_covers_itself_and_is_covered_by_all(pattern: list[str]) -> None:
    assert path_covers(pattern, pattern)
    assert path_covers(["**"], pattern)


def test_however_many_patterns_there_are_a_code_is_matched_in_steps_of_its_length() -> None:
    """Patterns are walked together. The worst that a user may hold is that all of them begin like the code."""
    steps = 0

    class Counted(str):
        __slots__ = ()

        def __hash__(self) -> int:
            nonlocal steps
            steps += 1
            return super().__hash__()

    prefixes = ["/".join(words) for words in itertools.product("a*", repeat=8)][:200]
    held = Grants.of(Grant(f"GET:/{prefix}/a/a/a/a/a/a/z") for prefix in prefixes)
    words = [Counted("GET"), *map(Counted, "a" * 14)]

    assert not held._tree.covers(words)
    # Twice for each prefix that was reached: it has 200 ends, and half as many a word before.
    assert steps < 2 * (200 * 7 + 2 * 200) * 2


def test_a_stored_grant_that_is_invalid_today_gives_nothing() -> None:
    """Rules became stricter; whoever had `GET:/**/b` has less, and not by mistake `GET:/**`."""
    stored = ["GET:/a", "GET:/**/b", "*:/c/**", "GET:" + "/*" * 17]
    assert [grant.value for grant in stored_grants(stored)] == ["GET:/a", "*:/c/**"]


# --- grants -------------------------------------------------------------------------------------

CODES = st.builds(
    "{}:/{}/{}".format,
    st.sampled_from(["GET", "PUT"]),
    st.sampled_from(SEGMENTS),
    st.sampled_from(SEGMENTS),
)
GRANTS = st.one_of(
    CODES, st.sampled_from(["*:**", "GET:**", "*:/a/**", "PUT:/*/b", "*:/*/z", "GET:/*/**"])
)


@given(grants=st.lists(GRANTS, max_size=6), code=st.one_of(CODES, GRANTS))
def test_grants_allow_what_any_of_them_covers(grants: list[str], code: str) -> None:
    assert Grants.of(map(Grant, grants)).allow(code) == any(covers(g, code) for g in grants)


@given(grants=st.lists(GRANTS, max_size=6), order=st.randoms())
def test_the_same_grants_are_the_same_object(grants: list[str], order: Random) -> None:
    """Many users have the same roles, and a process remembers many users."""
    shuffled = grants + grants
    order.shuffle(shuffled)
    assert Grants.of(map(Grant, shuffled)) is Grants.of(map(Grant, grants))


def test_without_roles_nothing_is_allowed() -> None:
    assert not grants_of([]).allow("GET:/a")
    assert not somebody().allows("GET:/a")


def test_a_disabled_role_gives_nothing() -> None:
    roles = [a_role("GET:/a"), a_role("PUT:/a", "*:/b/**", status=RoleStatus.DISABLED)]
    given_ = grants_of(roles)
    assert given_.allow("GET:/a")
    assert not given_.allow("PUT:/a")
    assert not given_.allow("GET:/b/c")


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


# --- roles --------------------------------------------------------------------------------------


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
