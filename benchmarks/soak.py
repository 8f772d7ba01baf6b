"""`make soak`: an API under a load of everything for some minutes; what it holds is printed each minute.

A line that rises is a fault: the last quarter is compared with the second, for the first warms up. Exits with 1 then,
or after an answer that was not expected.
"""

import argparse
import asyncio
import base64
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from redis.asyncio import Redis

from benchmarks.processes import answer, environment_of_portico, process
from benchmarks.servers import Servers, servers

_CLIENTS = 8
_USERNAME, _PASSWORD = "soaked", "only to be measured with 7"
_MOST = {"MB": 1.15, "files": 1.1, "tasks": 1.1, "threads": 1.1, "postgres": 1.1, "redis": 1.1}
"""How many times what the second quarter held the last may hold; a few more of small numbers do not count."""
_SLACK = {"threads": 6}
"""Motor's pool has five for each core, and makes one when all others are busy: one came in the 16th minute."""
_SLACK_OF_OTHERS = 3


class _Client:
    """A browser that logs in, works, refreshes and logs out, and some strangers."""

    def __init__(self, api: str, number: int, pause: float) -> None:
        self._http = httpx.AsyncClient(base_url=api, timeout=60)
        self._number = number
        self._pause = pause
        self._random = random.Random(number)  # noqa: S311 - no secret
        self._made = 0
        self._headers: dict[str, str] = {}
        self._refresh = ""
        self.sent = 0
        self.unexpected: Counter[str] = Counter()

    async def run(self, until: float) -> None:
        """Do something or other until then."""
        work: Sequence[tuple[Callable[[], Awaitable[None]], int]] = (
            (self._read, 60),
            (self._search, 15),
            (self._be_refused, 10),
            (self._write, 8),
            (self._rotate, 5),
            (self._return, 2),
        )
        actions, weights = zip(*work, strict=True)
        await self._log_in()
        while time.monotonic() < until:
            (act,) = self._random.choices(actions, weights)
            await act()
            await asyncio.sleep(self._random.uniform(0, 2 * self._pause))
        await self._http.aclose()

    async def _send(self, method: str, path: str, expected: int = 200, **given: Any) -> Any:  # noqa: ANN401 - JSON
        headers = {**self._headers, **given.pop("headers", {})}
        found = await self._http.request(method, path, headers=headers, **given)
        self.sent += 1
        if found.status_code != expected:
            self.unexpected[f"{method} {path.partition('?')[0]}: {found.status_code}"] += 1
            return {}
        return found.json().get("data") if found.content and expected < 400 else {}  # noqa: PLR2004 - an error

    async def _read(self) -> None:
        paths = (
            "/auth/user/info",
            "/auth/sessions",
            "/roles",
            "/periodic-tasks",
            "/audit",
            "/tasks",
        )
        await self._send("GET", f"/api/v1{self._random.choice(paths)}")

    async def _search(self) -> None:
        keyword = self._random.choice(("a", "so", "made", "nobody", "王伟"))
        await self._send("GET", "/api/v1/users", params={"keyword": keyword})

    async def _be_refused(self) -> None:
        await self._send("GET", "/api/v1/users", 401, headers={"Authorization": "Bearer nonsense"})
        await self._send("GET", f"/api/v1/nowhere/{self._random.random()}", 404)
        await self._send("GET", "/api/v1/users?page=x", 422)

    async def _write(self) -> None:
        self._made += 1
        name = f"made-{self._number}-{self._made}"
        body = {"username": name, "email": f"{name}@example.org", "name": "Somebody"}
        made = await self._send("POST", "/api/v1/users", 201, json=body)
        if user_id := (made or {}).get("user", made or {}).get("id"):
            await self._send("PATCH", f"/api/v1/users/{user_id}", json={"name": "Somebody else"})
            await self._send("DELETE", f"/api/v1/users/{user_id}", 200)

    async def _rotate(self) -> None:
        given = await self._send(
            "POST", "/api/v1/auth/token/refresh", headers={"X-Refresh-Token": self._refresh}
        )
        self._keep(given)

    async def _return(self) -> None:
        await self._send("POST", "/api/v1/auth/logout", 200)
        await self._log_in()

    async def _log_in(self) -> None:
        self._headers = {}
        key = await self._send("GET", "/api/v1/auth/keys/public")
        body = {"username": _USERNAME, "password": _sealed(key), "kid": key["kid"]}
        self._keep(await self._send("POST", "/api/v1/auth/login", json=body))

    def _keep(self, given: Mapping[str, str]) -> None:
        if given:
            self._headers = {"Authorization": f"Bearer {given['accessToken']}"}
            self._refresh = given["refreshToken"]


def _sealed(key: Mapping[str, str]) -> str:
    public = load_pem_public_key(key["publicKey"].encode())
    if not isinstance(public, RSAPublicKey):
        raise TypeError("the transport key is no RSA key")
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), label=None)
    return base64.b64encode(public.encrypt(_PASSWORD.encode(), oaep)).decode()


def main() -> None:
    """Run for `--minutes`."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, help="seconds between two lines")
    parser.add_argument(
        "--pause", type=float, default=0, help="seconds that a client rests between two actions"
    )
    given = parser.parse_args()
    faults = asyncio.run(_soak(given.minutes * 60, given.every, given.pause))
    print("\n".join(faults) or "No line rises.")  # noqa: T201 - the result
    sys.exit(1 if faults else 0)


async def _soak(seconds: float, every: float, pause: float) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="portico-soak-") as directory:
        async with servers(Path(directory)) as started:
            environment = {
                **await environment_of_portico(started, "soak", 1),
                "PORTICO_MONGO_URL": started.mongo,
                "PORTICO_MONGO_TIMEOUT": "30s",
                "PORTICO_LOG_LEVEL": "ERROR",
                "PORTICO_ADMIN_USERNAME": _USERNAME,
                "PORTICO_ADMIN_PASSWORD": _PASSWORD,
                **{
                    f"PORTICO_THROTTLE_{each}": "1000000/60"
                    for each in ("ACCOUNT", "ADDRESS", "GLOBAL", "PUBLIC", "REFRESH")
                },
            }
            async with process("benchmarks.contenders.portico_soak", environment) as api:
                port = (await answer(api))["port"]
                until = time.monotonic() + seconds
                clients = [_Client(f"http://127.0.0.1:{port}", n, pause) for n in range(_CLIENTS)]
                working = [asyncio.create_task(client.run(until)) for client in clients]
                lines = await _watch(api, started, environment, until, every)
                await asyncio.gather(*working)
                print((await answer(api, "names"))["names"])  # noqa: T201 - who holds the threads
    unexpected: Counter[str] = sum((client.unexpected for client in clients), Counter())
    print(f"{sum(client.sent for client in clients):,} requests")  # noqa: T201
    return [f"{what} ({times} times)" for what, times in unexpected.items()] + rising(lines)


async def _watch(
    api: asyncio.subprocess.Process,
    servers: Servers,
    environment: Mapping[str, str],
    until: float,
    every: float,
) -> list[dict[str, float]]:
    lines: list[dict[str, float]] = []
    print("  ".join(f"{name:>8}" for name in ("minute", *_MOST)), flush=True)  # noqa: T201
    began = time.monotonic()
    while time.monotonic() < until:
        await asyncio.sleep(min(every, max(until - time.monotonic(), 0)))
        found = {
            **_held(api.pid),
            "tasks": (await answer(api, "tasks"))["tasks"],
            "postgres": await _connections(environment["PORTICO_POSTGRES_URL"]),
            "redis": await _clients(servers.redis),
        }
        lines.append(found)
        minute = (time.monotonic() - began) / 60
        cells = [f"{minute:8.1f}", *(f"{found[name]:8.0f}" for name in _MOST)]
        print("  ".join(cells), flush=True)  # noqa: T201
    return lines


def _held(pid: int) -> dict[str, float]:
    """Return the resident memory, open files and threads of a process (Linux)."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {
        "MB": int(status["VmRSS"].split()[0]) / 1024,
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
    }


async def _connections(url: str) -> float:
    connection = await asyncpg.connect(url)
    try:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return float(await connection.fetchval(count)) - 1
    finally:
        await connection.close()


async def _clients(url: str) -> float:
    async with Redis.from_url(url) as redis:
        return float((await redis.info("clients"))["connected_clients"]) - 1


def rising(lines: Sequence[Mapping[str, float]]) -> list[str]:
    """Return what the last quarter holds more of than the second quarter did; the first warms up."""
    quarter = len(lines) // 4
    if not quarter:
        return ["Too short to say: there are fewer than four lines."]
    faults = []
    for name, most in _MOST.items():
        early = statistics.median(line[name] for line in lines[quarter : 2 * quarter])
        late = statistics.median(line[name] for line in lines[-quarter:])
        if late > max(early * most, early + _SLACK.get(name, _SLACK_OF_OTHERS)):
            faults.append(f"{name} rises: {early:.0f}, in the end {late:.0f}")
    return faults


if __name__ == "__main__":
    main()
