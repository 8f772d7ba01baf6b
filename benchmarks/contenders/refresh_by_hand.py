"""What a refresh cannot do without, by hand: one script in Redis and two RS256 signatures, in bare FastAPI."""

import json
import os
from base64 import urlsafe_b64encode
from typing import Annotated

import uvloop
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from fastapi import FastAPI, Header
from pydantic import BaseModel
from redis.asyncio import Redis

from benchmarks.contenders.http import serve

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_redis = Redis.from_url(os.environ["PORTICO_REDIS_URL"], decode_responses=True)  # noqa: TID251
_rotate = _redis.register_script("return redis.call('INCR', KEYS[1])")
app = FastAPI()


class Tokens(BaseModel):
    """The new pair."""

    access_token: str
    refresh_token: str


@app.post("/api/v1/auth/token/refresh")
async def refresh(x_refresh_token: Annotated[str, Header()]) -> Tokens:
    """Return a new pair, whatever the token is."""
    number = await _rotate(keys=[f"bench:session:{x_refresh_token[-32:]}"])
    return Tokens(access_token=_signed("at", number), refresh_token=_signed("rt", number))


def _signed(kind: str, number: int) -> str:
    parts = [{"alg": "RS256", "kid": "k", "typ": kind}, {"sub": "someone", "jti": number}]
    text = b".".join(urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    signature = _KEY.sign(text, padding.PKCS1v15(), SHA256())
    return (text + b"." + urlsafe_b64encode(signature)).decode()


if __name__ == "__main__":
    uvloop.run(serve(app, {}))
