"""Of row 2: how soon an API of one process answers others while a crowd logs in."""

import asyncio
import base64
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import httpx
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from benchmarks.report import Figure
from benchmarks.servers import Servers

_CROWD = 100
_THROTTLES = ("ACCOUNT", "ADDRESS", "GLOBAL", "PUBLIC")
"""What would turn a crowd from one address away."""
_USERNAME, _PASSWORD = "crowd", "only to be measured with 7"


async def measure(_servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figure; the first round warms up and does not count."""
    say("log-in: /livez while 100 clients log in")
    async with (
        _portico() as api,
        # Two, or who asks would wait for a connection that the crowd has.
        httpx.AsyncClient(base_url=api, timeout=60) as crowd,
        httpx.AsyncClient(base_url=api, timeout=60) as other,
    ):
        found = [await _slowest(crowd, other) for _ in range(rounds + 1)][1:]
        alone = await _alone(other)
    return [
        Figure(
            row=2,
            what="/livez while 100 clients log in, p99",
            unit="ms",
            ours=statistics.median(found) * 1000,
            reference=alone * 1000,
            reference_name="when nobody logs in",
            target=50,
        )
    ]


async def _slowest(crowd: httpx.AsyncClient, other: httpx.AsyncClient) -> float:
    """Return within how many seconds 99 % of the answers came."""
    key = (await other.get("/api/v1/auth/keys/public")).json()["data"]
    body = {"username": _USERNAME, "password": _sealed(key), "kid": key["kid"]}
    log_ins = [
        asyncio.create_task(crowd.post("/api/v1/auth/login", json=body)) for _ in range(_CROWD)
    ]
    seconds = []
    while not all(log_in.done() for log_in in log_ins):
        seconds.append(await _livez(other))
        await asyncio.sleep(0.005)
    refused = [answer for log_in in log_ins if (answer := await log_in).is_error]
    if len(refused) > _CROWD // 2:
        raise RuntimeError(f"most log-ins were refused: {refused[0].text}")
    return statistics.quantiles(seconds, n=100)[-1]


async def _alone(client: httpx.AsyncClient) -> float:
    return statistics.quantiles([await _livez(client) for _ in range(500)], n=100)[-1]


async def _livez(client: httpx.AsyncClient) -> float:
    started = time.perf_counter()
    (await client.get("/livez")).raise_for_status()
    return time.perf_counter() - started


def _sealed(key: Mapping[str, str]) -> str:
    public = load_pem_public_key(key["publicKey"].encode())
    if not isinstance(public, RSAPublicKey):
        raise TypeError("the transport key is no RSA key")
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), label=None)
    return base64.b64encode(public.encrypt(_PASSWORD.encode(), oaep)).decode()


@asynccontextmanager
async def _portico() -> AsyncIterator[str]:
    """Run everything with data of its own; return the address of the API."""
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as directory:
        environment = {
            **os.environ,  # noqa: TID251 - handed on to a child, not read
            "ENVIRONMENT": "LOCAL",
            "PORTICO_HTTP_PORT": "0",
            "PORTICO_DATA_DIR": directory,
            "PORTICO_ADMIN_USERNAME": _USERNAME,
            "PORTICO_ADMIN_PASSWORD": _PASSWORD,
            "PORTICO_LOG_LEVEL": "ERROR",
            **{f"PORTICO_THROTTLE_{each}": "1000000/60" for each in _THROTTLES},
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "entrypoints.cli.app", "run", "--json"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            yield json.loads(await process.stdout.readline())["api"]
        finally:
            process.terminate()
            await process.wait()
