"""Seen ciphertexts in Redis.

- `auth:replay:<sha256>`: a ciphertext that was shown; the server's own clock ends it
"""

from datetime import timedelta

from adapters.redis.client import RedisServers
from application.ports.seen_ciphertexts import SeenCiphertexts


class RedisSeenCiphertexts(SeenCiphertexts):
    """A key per ciphertext; the first to set it has used the ciphertext."""

    def __init__(self, client: RedisServers) -> None:
        self._client = client

    async def first_use(self, digest: str, *, within: timedelta) -> bool:
        milliseconds = within // timedelta(milliseconds=1)
        key = f"auth:replay:{digest}"
        return await self._client.execute("SET", key, "", "NX", "PX", milliseconds) is not None
