"""A lock per key, for changes that would wait for the same lock of the database."""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from domain.errors import Unavailable


@dataclass(slots=True, weakref_slot=True)
class _Lock:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    failure: Unavailable | None = None
    """Of the last block that failed so."""


class KeyedLock:
    """Lets the changes that share a key run one after the other in this process; take it before the unit of work.

    The database has the lock that counts. But each of many that wait there has a connection meanwhile, until none is
    left for others; here they wait without one. If a server is away for the first of them, it is for all that wait: the
    time-outs of many one after the other would be much longer than one.
    """

    def __init__(self, *, longest: float = 10.0) -> None:
        """`longest` is how long one may wait, in seconds."""
        self._longest = longest
        self._locks = WeakValueDictionary[Hashable, _Lock]()

    @asynccontextmanager
    async def __call__(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Lock `key` while the block runs, for those who asked first, first; raise `Unavailable`."""
        locked = self._locks.setdefault(key, _Lock())
        before = locked.failure
        try:
            async with asyncio.timeout(self._longest):
                await locked.lock.acquire()
        except TimeoutError:
            raise Unavailable("The service", reason="too many changes of the same") from None
        try:
            if locked.failure is not None and locked.failure is not before:
                raise Unavailable(locked.failure.dependency, reason=locked.failure.reason)
            try:
                yield
            except Unavailable as failure:
                locked.failure = failure
                raise
        finally:
            locked.lock.release()
