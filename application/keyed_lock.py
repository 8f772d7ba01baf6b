"""A lock per key, for changes that would wait for the same lock of the database."""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from domain.errors import Unavailable


class KeyedLock:
    """Lets the changes that share a key run one after the other in this process; take it before the unit of work.

    The database has the lock that counts. But each of many that wait there has a connection meanwhile, until none is
    left for others; here they wait without one.
    """

    def __init__(self, *, longest: float = 10.0) -> None:
        """`longest` is how long one may wait, in seconds."""
        self._longest = longest
        self._locks = WeakValueDictionary[Hashable, asyncio.Lock]()

    @asynccontextmanager
    async def __call__(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Lock `key` while the block runs, for those who asked first, first; raise `Unavailable`."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(self._longest):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable("The service", reason="too many changes of the same") from None
        try:
            yield
        finally:
            lock.release()
