"""What a process remembers, and what it forgets."""

from adapters.lru import LruCache


def test_a_value_is_found_until_another_replaces_it() -> None:
    cache = LruCache[str, int](2)
    assert cache.get("a") is None
    cache.put("a", 1)
    cache.put("a", 2)
    assert cache.get("a") == 2


def test_the_least_recently_used_value_is_forgotten() -> None:
    cache = LruCache[str, int](2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    cache.put("a", 4)
    cache.put("d", 5)
    assert [cache.get(key) for key in "acd"] == [4, None, 5]
