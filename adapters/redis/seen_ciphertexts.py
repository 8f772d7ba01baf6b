"""Seen ciphertexts in Redis.

- `auth:replay:<sha256>`: a ciphertext that was shown; the server's own clock ends it
"""

from datetime import timedelta

from adapters.redis.client import RedisClient
from application.ports.seen_ciphertexts import SeenCiphertexts


class RedisSeenCiphertexts(SeenCiphertexts):
    """A key per ciphertext; the first to set it has used the ciphertext."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def first_use(self, digest: str, *, within: timedelta) -> bool:
        return bool(await self._client.set(f"auth:replay:{digest}", "", nx=True, px=within))
