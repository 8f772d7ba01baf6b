"""The cheapest guard of its kind: an HS256 token and one SELECT by hand; no session, no permission."""

import os
import secrets

import asyncpg
import uvloop
from fastapi import Depends, FastAPI, HTTPException, Request
from jose import JWTError, jwt

from benchmarks.contenders.http import USERS, Page, get, serve, show_page

_KEY = secrets.token_hex(32)
_SETUP = """
CREATE TABLE IF NOT EXISTS bench_users (id integer PRIMARY KEY, name text, is_active boolean);
"""


async def current_user(request: Request) -> asyncpg.Record:
    """Return the user of the token."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(token, _KEY, algorithms=["HS256"])
    except JWTError:
        raise HTTPException(401) from None
    pool: asyncpg.Pool = request.app.state.pool
    user = await pool.fetchrow("SELECT * FROM bench_users WHERE id = $1", int(claims["sub"]))
    if user is None or not user["is_active"]:
        raise HTTPException(401)
    return user


app = FastAPI()
app.get("/api/v1/bench/page", response_model=Page, dependencies=[Depends(current_user)])(show_page)


async def _main() -> None:
    address = os.environ["PORTICO_POSTGRES_URL"]  # noqa: TID251
    async with asyncpg.create_pool(address, max_size=10) as pool:
        app.state.pool = pool
        await pool.execute(_SETUP)
        requests = []
        for number in range(USERS):
            await pool.execute(
                "INSERT INTO bench_users VALUES ($1, $2, true)", number, f"user {number}"
            )
            token = jwt.encode({"sub": str(number)}, _KEY, algorithm="HS256")
            requests.append(get("/api/v1/bench/page", Authorization=f"Bearer {token}"))
        await serve(app, {"page": requests})


if __name__ == "__main__":
    uvloop.run(_main())
