"""What a process remembers, and what it forgets."""

from adapters.bounded_cache import BoundedCache


def test_a_value_is_found_until_another_replaces_it() -> None:
    cache = BoundedCache[str, int](2)
    assert cache.get("a") is None
    cache.put("a", 1)
    cache.put("a", 2)
    assert cache.get("a") == 2


def test_no_more_are_kept_than_the_limit_and_the_newest_is_one_of_them() -> None:
    cache = BoundedCache[int, int](10)
    for number in range(100):
        cache.put(number, number)
        kept = [each for each in range(100) if cache.get(each) is not None]
        assert len(kept) == min(number + 1, 10)
        assert kept[-1] == number


def test_of_more_than_the_limit_who_take_turns_some_are_found() -> None:
    cache = BoundedCache[int, int](200)
    found = 0
    for number in range(3_000):
        caller = number % 300
        if cache.get(caller) is None:
            cache.put(caller, caller)
        else:
            found += 1
    assert found > 600
