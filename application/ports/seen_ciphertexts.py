"""The memory of ciphertexts, against replay."""

from datetime import timedelta
from typing import Protocol


class SeenCiphertexts(Protocol):
    """Ciphertexts that were used before, so that a replayed one is refused."""

    async def first_use(self, digest: str, *, within: timedelta) -> bool:
        """Return whether `digest` is new within this time; of concurrent callers exactly one gets True."""
        ...
