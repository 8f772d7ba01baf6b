"""Keywords to search for, and text that stores can hold."""

import pytest

from domain.text import casefold_key, is_storable, search_key, storable_text


@pytest.mark.parametrize(
    ("keyword", "form"),
    [
        ("", ""),
        ("Ada", "ada"),
        (" Ada L", " ada l"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("\uff21\uff44\uff41", "ada"),
        ("e\u0301", "é"),
        ("%_\\", "%_\\"),
        ("a" * 254, "a" * 254),
    ],
)
def test_a_keyword_is_folded_like_the_text_that_is_searched(keyword: str, form: str) -> None:
    assert search_key(keyword) == form
    assert form in casefold_key(f"before {keyword} after")


@pytest.mark.parametrize(
    "keyword", ["\0", "ada\n", "\ud800", "\u202eada", "\u2028", "a" * 255, "a" * 10_000]
)
def test_text_that_no_name_can_hold_is_not_searched(keyword: str) -> None:
    assert search_key(keyword) is None


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", ""),
        ("Ada \u00e9\U0001f600\n", "Ada \u00e9\U0001f600\n"),
        ("a\0b\0", "a\ufffdb\ufffd"),
        ("\ud800a\udfff", "?a?"),
        ("\ud83d\0", "?\ufffd"),
    ],
)
def test_text_that_no_store_can_hold_is_replaced_by_text_of_the_same_length(
    text: str, stored: str
) -> None:
    assert storable_text(text) == stored
    assert is_storable(text) is (text == stored)
    assert is_storable(stored)
    assert len(stored) == len(text)
