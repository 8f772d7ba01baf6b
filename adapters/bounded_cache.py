"""A bounded cache of this process, for values that are costly to find again."""

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Keeps at most `limit` values, 1 or more. Chance decides which one makes room for another (random replacement).

    A cache that forgets what was not used for the longest time finds nothing once more than `limit` keys take turns:
    the next one has always just been forgotten. By chance 42 of 100 are found when there are half as many again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: dict[K, V] = {}
        self._keys: list[K] = []

    def get(self, key: K) -> V | None:
        """Return the value of `key`, or None if it was forgotten or never there."""
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value, in place of the one that `key` has."""
        if key not in self._values:
            self._make_room_for(key)
        self._values[key] = value

    def _make_room_for(self, key: K) -> None:
        if len(self._keys) < self._limit:
            self._keys.append(key)
            return
        place = random.randrange(self._limit)  # noqa: S311 - no secret
        del self._values[self._keys[place]]
        self._keys[place] = key
