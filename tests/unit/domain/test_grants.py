"""Permission codes, patterns, and what they cover."""

import itertools
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.grants import Grant, Grants, InvalidGrant, PermissionCode, stored_grants
from tests.support.grants import CODES, GRANTS, SEGMENTS

ROLES = "/api/v1/roles"


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


# Few enough segments to try them all; `z` is in no pattern, so it stands for all those that have no name.
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
    """Rules became stricter; a user who had `GET:/**/b` has less, and not by mistake `GET:/**`."""
    stored = ["GET:/a", "GET:/**/b", "*:/c/**", "GET:" + "/*" * 17]
    assert [grant.value for grant in stored_grants(stored)] == ["GET:/a", "*:/c/**"]


# --- grants -------------------------------------------------------------------------------------


@given(grants=st.lists(GRANTS, max_size=6), code=st.one_of(CODES, GRANTS))
def test_grants_allow_what_any_of_them_covers(grants: list[str], code: str) -> None:
    assert Grants.of(map(Grant, grants)).allow(code) == any(covers(g, code) for g in grants)


@given(grants=st.lists(GRANTS, max_size=6), order=st.randoms())
def test_the_same_grants_are_the_same_object(grants: list[str], order: Random) -> None:
    """Many users have the same roles, and a process remembers many users."""
    shuffled = grants + grants
    order.shuffle(shuffled)
    assert Grants.of(map(Grant, shuffled)) is Grants.of(map(Grant, grants))
