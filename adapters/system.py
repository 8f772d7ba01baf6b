"""The clock, ids and secrets of the machine this runs on."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from application.ports.system import Clock, IdGenerator, Secrets

# Digits and small letters, without those that look or sound like another: 0 and o, 1, i and l.
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
_GROUPS, _GROUP = 4, 5  # log2(31 ** 20) = 99 bits


class SystemClock(Clock):
    """The clock of the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class Uuid7Generator(IdGenerator):
    """UUIDs of version 7 (RFC 9562 §5.7), counted within a millisecond; a forked process draws its own."""

    def new(self) -> UUID:
        return uuid7()


class SystemSecrets(Secrets):
    """Secrets from the random numbers of the operating system."""

    def one_time_password(self) -> str:
        return "-".join(
            "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS)
        )
