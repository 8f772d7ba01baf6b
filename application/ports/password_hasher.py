"""Password hashing off the event loop."""

from typing import Protocol

from domain.identity import Password


class PasswordHasher(Protocol):
    """Slow, salted password hashes, computed off the event loop.

    Both coroutines raise `Unavailable` at once if too many hashes are waiting. A hash that has started is
    finished even if its caller is cancelled.
    """

    async def hash(self, password: Password) -> str:
        """Return a new hash with the current parameters, in PHC string format."""
        ...

    async def verify(self, password: Password, stored: str | None) -> bool:
        """Return whether `stored` is a hash of `password`.

        With None, or a text that is no hash, return False after as long as a hash with the current parameters takes.
        """
        ...

    def needs_rehash(self, stored: str) -> bool:
        """Return whether `stored` was made with other parameters than the current ones."""
        ...
