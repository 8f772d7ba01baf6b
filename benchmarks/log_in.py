"""Row 2: how many log in per second beside raw argon2, what else that costs, and how soon others are answered."""

import asyncio
import base64
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import argon2
import httpx
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from application.settings import PasswordSettings
from benchmarks.connections import Connections
from benchmarks.processes import cpu_seconds, with_descendants
from benchmarks.report import Figure
from benchmarks.servers import Servers

_CROWD = 100
_LOG_INS = 150
"""In a round."""
_REST = 3.0
"""Seconds."""
_THROTTLES = ("ACCOUNT", "ADDRESS", "GLOBAL", "PUBLIC")
"""What would turn a crowd from one address away."""
_USERNAME, _PASSWORD = "crowd", "only to be measured with 7"


async def measure(_servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figure; the first round warms up and does not count."""
    say("log-in: beside raw argon2, and /livez while 100 clients log in")
    async with (
        _portico() as (api, supervisor),
        # Two, or who asks would wait for a connection that the crowd has.
        httpx.AsyncClient(base_url=api, timeout=60) as crowd,
        httpx.AsyncClient(base_url=api, timeout=60) as other,
    ):
        found = [await _slowest(crowd, other) for _ in range(rounds + 1)][1:]
        alone = await _alone(other)
        key = (await other.get("/api/v1/auth/keys/public")).json()["data"]
        request, verifying = _request(api, key), _Argon2()
        at_rest = await _at_rest(supervisor)
        raw, log_ins = list[_Spent](), list[_Spent]()
        for _ in range(rounds + 1):
            raw.append(await asyncio.to_thread(verifying.spend))
            log_ins.append(await _log_ins(api, request, supervisor, at_rest))
    argon2_cpu = statistics.median(each.cpu for each in raw[1:])
    return [
        Figure(
            row=2,
            what="log-in",
            unit="/s",
            ours=statistics.median(each.rate for each in log_ins[1:]),
            reference=statistics.median(each.rate for each in raw[1:]),
            reference_name="raw argon2 on all cores",
            ratio_target=0.65,
            more_is_better=True,
        ),
        Figure(
            row=2,
            what="CPU per log-in besides argon2, all processes and servers",
            unit="ms",
            ours=(statistics.median(each.cpu for each in log_ins[1:]) - argon2_cpu) * 1000,
            target=8,
        ),
        Figure(
            row=2,
            what="/livez while 100 clients log in, p99",
            unit="ms",
            ours=statistics.median(found) * 1000,
            reference=alone * 1000,
            reference_name="when nobody logs in",
            target=50,
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Spent:
    rate: float
    """Per second."""
    cpu: float
    """Seconds each, without what the processes use at rest."""


class _Argon2:
    """Verifications of the default parameters, on all cores at once."""

    def __init__(self) -> None:
        settings = PasswordSettings()
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._hash = self._hasher.hash(_PASSWORD)

    def spend(self) -> _Spent:
        """Verify so many passwords."""
        wall, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for verified in [
                threads.submit(self._hasher.verify, self._hash, _PASSWORD) for _ in range(_LOG_INS)
            ]:
                verified.result()
        return _Spent(
            _LOG_INS / (time.perf_counter() - wall), (time.process_time() - cpu) / _LOG_INS
        )


async def _at_rest(supervisor: int) -> float:
    """Return the seconds of CPU that all processes use in a second in which nobody logs in."""
    before = _cpu(supervisor)
    await asyncio.sleep(_REST)
    return _spent_since(before, supervisor) / _REST


async def _log_ins(api: str, request: bytes, supervisor: int, at_rest: float) -> _Spent:
    wall, before = time.perf_counter(), _cpu(supervisor)
    async with Connections(urlsplit(api).port or 0, 16) as connections:
        await connections.share(_LOG_INS, lambda _: request)
    wall = time.perf_counter() - wall
    return _Spent(_LOG_INS / wall, (_spent_since(before, supervisor) - at_rest * wall) / _LOG_INS)


def _cpu(supervisor: int) -> dict[int, float]:
    """Return the seconds of CPU of each process that there is, but for the first one, which watches our code."""
    found = {}
    for pid in with_descendants(supervisor)[1:]:
        with suppress(OSError):  # it has ended since
            found[pid] = cpu_seconds(pid)
    return found


def _spent_since(before: Mapping[int, float], supervisor: int) -> float:
    # PostgreSQL starts a process for each new connection.
    return sum(seconds - before.get(pid, 0) for pid, seconds in _cpu(supervisor).items())


def _request(api: str, key: Mapping[str, str]) -> bytes:
    body = json.dumps({"username": _USERNAME, "password": _sealed(key), "kid": key["kid"]})
    return (
        f"POST /api/v1/auth/login HTTP/1.1\r\nHost: {urlsplit(api).netloc}\r\nUser-Agent: bench/1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


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
    if refused:
        raise RuntimeError(f"{len(refused)} log-ins were refused: {refused[0].text}")
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
async def _portico() -> AsyncIterator[tuple[str, int]]:
    """Run everything with data of its own; return the address of the API, and the process that started all others."""
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
            # On a busy machine, too, a figure is of log-ins that succeed.
            "PORTICO_POSTGRES_TIMEOUT": "30s",
            "PORTICO_REDIS_TIMEOUT": "30s",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "entrypoints.cli.app", "run", "--json"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            api = json.loads(await process.stdout.readline())["api"]
            yield api, process.pid
        finally:
            process.terminate()
            await process.wait()
