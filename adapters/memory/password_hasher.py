"""Fast password hashes for unit tests; not safe."""

import hashlib
import secrets

from application.ports.password_hasher import PasswordHasher
from domain.identity import Password


class MemoryPasswordHasher(PasswordHasher):
    """One round of SHA-256. `generation` stands for the parameters: `needs_rehash` compares it."""

    def __init__(self, generation: int = 1) -> None:
        self._prefix = f"$memory$g={generation}$"

    async def hash(self, password: Password) -> str:
        return self._prefix + _salted(secrets.token_hex(8), password)

    async def verify(self, password: Password, stored: str | None) -> bool:
        match (stored or "").split("$"):
            case ["", "memory", _, salt, digest]:
                return _salted(salt, password) == f"{salt}${digest}"
            case _:
                return False

    def needs_rehash(self, stored: str) -> bool:
        return not stored.startswith(self._prefix)


def _salted(salt: str, password: Password) -> str:
    secret = password.value.encode("utf-8", "surrogatepass")
    return f"{salt}${hashlib.sha256(salt.encode() + secret).hexdigest()}"
