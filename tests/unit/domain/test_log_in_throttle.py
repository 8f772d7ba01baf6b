"""Who is counted as one guesser, what as one account, and how long locks last."""

import pytest

from domain.log_in_throttle import account_of, lock_ladder, networks_of
from tests.support.clock import SECOND


def test_each_lock_is_twice_as_long_as_the_one_before_up_to_the_longest() -> None:
    ladder = lock_ladder(first=30 * SECOND, longest=3600 * SECOND)
    assert [lock // SECOND for lock in ladder] == [30, 60, 120, 240, 480, 960, 1920, 3600]


@pytest.mark.parametrize(
    ("first", "longest", "ladder"),
    [(60, 60, [60]), (90, 60, [60]), (0, 60, [0]), (40, 60, [40, 60])],
)
def test_a_ladder_of_locks_ends_at_the_longest(first: int, longest: int, ladder: list[int]) -> None:
    locks = lock_ladder(first=first * SECOND, longest=longest * SECOND)
    assert [lock // SECOND for lock in locks] == ladder


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("192.0.2.7", ("192.0.2.7",)),
        ("::ffff:192.0.2.7", ("192.0.2.7",)),
        ("2001:db8:7:1:ffff::1", ("2001:db8:7:1::/64", "2001:db8:7::/48")),
        ("2001:DB8:7:ffff::", ("2001:db8:7:ffff::/64", "2001:db8:7::/48")),
        ("fe80::1%eth0", ("fe80::/64", "fe80::/48")),
        ("::1", ("::/64", "::/48")),
        ("192.0.2.7, 10.0.0.1", ("unknown",)),
        ("", ("unknown",)),
    ],
)
def test_a_guesser_is_an_ipv4_address_or_the_64_of_an_ipv6_address_and_its_48(
    address: str, networks: tuple[str, ...]
) -> None:
    assert networks_of(address) == networks


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada.Lovelace", "ada.lovelace"),
        (" ada.lovelace ", "ada.lovelace"),
        ("\uff41\uff44\uff41.lovelace", "ada.lovelace"),
        ("Ada@Example.ORG", "ada@example.org"),
        ("No One At All", "no one at all"),
    ],
)
def test_spellings_that_find_one_user_are_one_account(one: str, other: str) -> None:
    assert account_of(one) == account_of(other)
