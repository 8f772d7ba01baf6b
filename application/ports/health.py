"""What readiness asks of each dependency."""

from typing import Protocol


class Probe(Protocol):
    """One dependency that can be up or down."""

    name: str
    """How operators call it: `postgres`, `redis`, …"""

    async def check(self) -> None:
        """Return if the dependency can be used; raise `Unavailable` with the reason, or anything, if it cannot.

        The caller sets the time-out.
        """
        ...
