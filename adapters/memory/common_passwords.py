"""A short list of common passwords, for unit tests."""

from collections.abc import Iterable

from application.ports.common_passwords import CommonPasswords


class MemoryCommonPasswords(CommonPasswords):
    """A handful of words."""

    def __init__(self, folded: Iterable[str] = ("password", "123456", "qwerty", "letmein")) -> None:
        self._folded = frozenset(folded)

    def __contains__(self, folded: str, /) -> bool:
        return folded in self._folded
