"""The passwords that attackers try first, as counted by the zxcvbn project."""

from functools import cached_property

from application.ports.common_passwords import CommonPasswords


class ZxcvbnCommonPasswords(CommonPasswords):
    """The 30,000 most common passwords of zxcvbn's list, read at the first use."""

    def __contains__(self, folded: str, /) -> bool:
        return folded in self._folded

    @cached_property
    def _folded(self) -> frozenset[str]:
        # Its import takes tens of milliseconds and megabytes, which a worker that never sees a new
        # password should not pay.
        from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

        return frozenset(word.casefold() for word in FREQUENCY_LISTS["passwords"])
