"""Seen ciphertexts in memory."""

from datetime import datetime, timedelta

from application.ports.seen_ciphertexts import SeenCiphertexts
from application.ports.system import Clock


class MemorySeenCiphertexts(SeenCiphertexts):
    """The digests of recent ciphertexts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, datetime] = {}

    async def first_use(self, digest: str, *, within: timedelta) -> bool:
        now = self._clock.now()
        self._until = {seen: until for seen, until in self._until.items() if until > now}
        if digest in self._until:
            return False
        self._until[digest] = now + within
        return True
