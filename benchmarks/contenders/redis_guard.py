"""A guard as templates have it: an HS256 token; from Redis the stored token, then the user; a role."""

import json
import os
import secrets
from typing import Annotated, Any

import uvloop
from fastapi import Depends, FastAPI, HTTPException, Request
from jose import JWTError, jwt
from redis.asyncio import Redis

from benchmarks.contenders.http import USERS, Page, get, serve, show_page

_KEY = secrets.token_hex(32)
_redis = Redis.from_url(os.environ["PORTICO_REDIS_URL"], decode_responses=True)  # noqa: TID251


async def current_user(request: Request) -> dict[str, Any]:
    """Return the user of the token."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(token, _KEY, algorithms=["HS256"])
    except JWTError:
        raise HTTPException(401) from None
    if await _redis.get(f"bench:token:{claims['sub']}:{claims['sid']}") != token:
        raise HTTPException(401)
    user: dict[str, Any] = json.loads(await _redis.get(f"bench:user:{claims['sub']}") or "{}")
    if not user.get("active"):
        raise HTTPException(401)
    return user


async def needs_role(user: Annotated[dict[str, Any], Depends(current_user)]) -> None:
    """Raise 403 unless the user has the role."""
    if "reader" not in user["roles"]:
        raise HTTPException(403)


app = FastAPI()
app.get("/api/v1/bench/page", response_model=Page, dependencies=[Depends(needs_role)])(show_page)


async def _main() -> None:
    requests = []
    for number in range(USERS):
        token = jwt.encode({"sub": str(number), "sid": "1"}, _KEY, algorithm="HS256")
        await _redis.set(f"bench:token:{number}:1", token)
        user = {"id": number, "active": True, "roles": ["reader"]}
        await _redis.set(f"bench:user:{number}", json.dumps(user))
        requests.append(get("/api/v1/bench/page", Authorization=f"Bearer {token}"))
    await serve(app, {"page": requests})


if __name__ == "__main__":
    uvloop.run(_main())
