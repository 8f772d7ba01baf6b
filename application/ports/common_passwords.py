"""The list of passwords that attackers try first."""

from typing import Protocol


class CommonPasswords(Protocol):
    """The passwords that attackers try first."""

    def __contains__(self, folded: str, /) -> bool:
        """Return whether the case-folded text is one of them."""
        ...
