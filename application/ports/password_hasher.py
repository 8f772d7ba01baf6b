"""Password hashing off the event loop."""

from typing import Protocol

from domain.identity import Password


class PasswordHasher(Protocol):
    """Slow, salted password hashes, computed off the event loop.

    Both coroutines raise `Unavailable` at once if too many hashes are waiting. A hash that has begun is
    finished even if its caller is cancelled.
    """

    async def hash(self, password: Password) -> str:
        """Return a new hash with the parameters of today, in PHC string format."""
        ...

    async def verify(self, password: Password, stored: str | None) -> bool:
        """Tell whether `stored` is a hash of `password`.

        With None, or with what is no hash, take as long as for a hash of today's parameters and return False.
        """
        ...

    def needs_rehash(self, stored: str) -> bool:
        """Tell whether `stored` was made with other parameters than today's."""
        ...
