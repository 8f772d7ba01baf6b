"""What an audit entry holds, made of any values."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from uuid import UUID

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audit_log import LARGEST_DETAILS, AuditOutcome, parts_of
from tests.support.builders import an_audit_entry


class Level(IntEnum):
    HIGH = 3


def test_json_values_stay_as_they_are() -> None:
    details = {
        "text": "кот \U0001f600",
        "list": [1, 2.5, True, None, {"a": {}}],
        "largest": 2**63 - 1,
    }
    assert an_audit_entry(details=details).details == details


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01 00:00:00+00:00"),
        (AuditOutcome.FAILURE, "failure"),
        (Level.HIGH, 3),
        ((1, 2), [1, 2]),
        (frozenset({"a"}), ["a"]),
        ({1: {"b": 2}}, {"1": {"b": 2}}),
        (2**63, "0x8000000000000000"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\ud800b", "a?b"),
        ({"a\0b": 1}, {"a\N{REPLACEMENT CHARACTER}b": 1}),
        (b"bytes", "b'bytes'"),
    ],
)
def test_values_that_json_lacks_become_text(given: object, kept: object) -> None:
    value = an_audit_entry(details={"value": given}).details["value"]
    assert (value, type(value)) == (kept, type(kept))


def test_values_nested_too_deep_are_left_out() -> None:
    details: dict[str, object] = {"inner": "treasure"}
    for _ in range(5_000):
        details = {"inner": details}
    text = json.dumps(an_audit_entry(details=details).details, ensure_ascii=False)
    assert text.count("inner") == 20
    assert "…" in text


def test_of_details_that_are_too_large_the_beginning_is_kept() -> None:
    details = {"roles": ["\N{SNOWMAN}" * 100] * 1000}
    kept = an_audit_entry(details=details).details
    whole = json.dumps(details, ensure_ascii=False, separators=(",", ":"))
    assert kept == {"excerpt": whole[:8_000], "bytes": len(whole.encode())}


def test_details_are_a_copy() -> None:
    """What an entry says does not change afterwards."""
    permissions = ["GET:/users"]
    entry = an_audit_entry(details={"permissions": permissions})
    permissions.append("DELETE:/users")
    assert entry.details == {"permissions": ["GET:/users"]}


def test_texts_are_cut_and_can_be_stored() -> None:
    entry = an_audit_entry(agent="x" * 255 + "\0" + "y" * 1000, target="\udfff" * 1000)
    assert entry.agent == "x" * 255 + "\N{REPLACEMENT CHARACTER}"
    assert entry.target == "?" * 300


NASTY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(st.characters())
    | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner)
    ),
    max_leaves=50,
)


@given(
    details=st.dictionaries(st.text(st.characters()), NASTY),
    size=st.sampled_from([0, 0, 10_000, 10_920, 40_000]),
)
def test_every_entry_fits_and_is_the_same_when_made_from_itself(
    details: dict[str, object], size: int
) -> None:
    """It goes through PostgreSQL as JSON and arrives in MongoDB as BSON."""
    entry = an_audit_entry(details=details | {"filler": "\x01" * size})
    text = json.dumps(entry.details, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    assert len(text.encode()) <= LARGEST_DETAILS
    assert "\\u0000" not in text
    assert bson.decode(bson.encode(dict(entry.details))) == entry.details
    assert an_audit_entry(details=json.loads(text)).details == entry.details


# --- in parts ---


def test_details_that_fit_are_one_part() -> None:
    details = {"roles": ["a"], "name": "x", "none": {}}
    assert parts_of(details) == [details]
    assert parts_of({}) == [{}]


def leaves(value: object, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from leaves(item, *path, name)
    elif isinstance(value, list) and value:
        yield from ((path, repr(item)) for item in value)
    else:
        yield path, repr(value)


NAMES = st.text('abcdef\N{SNOWMAN}"', min_size=1, max_size=9)
VALUES = st.recursive(
    NAMES | st.integers(0, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=5),
)


@given(details=st.dictionaries(NAMES, VALUES), fillers=st.lists(NAMES, max_size=4))
def test_parts_have_everything_between_them_and_each_fits(
    details: dict[str, object], fillers: list[str]
) -> None:
    whole: dict[str, object] = {
        **{f"filler {n}": [text * 300] * 40 for n, text in enumerate(fillers)},
        **details,
        "last": {"inner": ["treasure" * 9] * 1000},  # several parts of one list
    }

    parts = parts_of(whole)

    assert [(part.pop("part"), part.pop("parts")) for part in map(dict, parts)] == [
        (n, len(parts)) for n in range(1, len(parts) + 1)
    ]
    assert all("excerpt" not in an_audit_entry(details=part).details for part in parts)
    split = Counter(leaf for part in parts for leaf in leaves({**part, "part": 0, "parts": 0}))
    del split[("part",), "0"], split[("parts",), "0"]
    assert split == Counter(leaves(whole))


def test_a_text_that_fits_nowhere_is_cut_alone() -> None:
    details = {"first": "a", "filler": "x" * LARGEST_DETAILS, "last": "b"}
    first, filler, last = (an_audit_entry(details=part).details for part in parts_of(details))
    assert (first["first"], last["last"]) == ("a", "b")
    assert "filler" in str(filler["excerpt"])
