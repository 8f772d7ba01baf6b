"""Passwords stored as argon2id hashes (RFC 9106)."""

import os
from base64 import b64encode
from contextlib import suppress

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from adapters.security.pool import HashingPool
from application.ports.password_hasher import PasswordHasher
from application.settings import PasswordSettings
from domain.identity import Password


class Argon2PasswordHasher(PasswordHasher):
    """Hashes in PHC string format; the parameters of an old hash are read from it."""

    def __init__(self, pool: HashingPool, settings: PasswordSettings) -> None:
        self._pool = pool
        self._argon2 = argon2.PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._nobodys = _nobodys_hash(self._argon2)

    async def hash(self, password: Password) -> str:
        return await self._pool.run(self._argon2.hash, _to_bytes(password))

    async def verify(self, password: Password, stored: str | None) -> bool:
        return await self._pool.run(self._verify, _to_bytes(password), stored)

    def needs_rehash(self, stored: str) -> bool:
        try:
            return self._argon2.check_needs_rehash(stored)
        except InvalidHashError:
            return True

    def _verify(self, password: bytes, stored: str | None) -> bool:
        if stored is not None:
            try:
                return self._argon2.verify(stored, password)
            except VerifyMismatchError:
                return False
            except (VerificationError, InvalidHashError, UnicodeEncodeError):
                pass  # no hash at all: nothing was computed yet
        with suppress(VerifyMismatchError):
            self._argon2.verify(self._nobodys, password)
        return False


def _to_bytes(password: Password) -> bytes:
    # JSON can carry a lone surrogate (`"\ud800"`). The policy refuses it in a new password;
    # in an attempt it must be a wrong password like any other, not an error.
    return password.value.encode("utf-8", "surrogatepass")


def _nobodys_hash(hasher: argon2.PasswordHasher) -> str:
    """Return what reads like a hash with the parameters of `hasher`, and is the hash of no known password.

    Random bytes instead of a computed hash: making it takes no time, so that not even the first attempt
    on an unknown name takes longer than another.
    """
    salt, tag = (
        b64encode(os.urandom(length)).rstrip(b"=").decode("ascii")
        for length in (hasher.salt_len, hasher.hash_len)
    )
    return (
        f"$argon2id$v={argon2.low_level.ARGON2_VERSION}"
        f"$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${tag}"
    )
