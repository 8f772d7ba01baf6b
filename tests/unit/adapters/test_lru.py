"""What a process remembers, and what it forgets."""

from adapters.lru import LruCache


def test_what_was_put_is_got_until_something_else_takes_its_place() -> None:
    cache = LruCache[str, int](2)
    assert cache.get("a") is None
    cache.put("a", 1)
    cache.put("a", 2)
    assert cache.get("a") == 2


def test_what_was_not_used_for_the_longest_time_is_forgotten() -> None:
    cache = LruCache[str, int](2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    cache.put("a", 4)
    cache.put("d", 5)
    assert [cache.get(key) for key in "acd"] == [4, None, 5]
