"""The memory of ciphertexts, against replay."""

from datetime import timedelta
from typing import Protocol


class SeenCiphertexts(Protocol):
    """Which ciphertexts were shown before, so that a copied one opens nothing."""

    async def first_use(self, digest: str, *, within: timedelta) -> bool:
        """Tell whether `digest` is shown for the first time in `within`; of many callers at once one is first."""
        ...
