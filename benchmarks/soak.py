"""`make soak`: an API under a load of everything for some minutes; what it holds is printed each minute.

A line that rises is a fault: the last quarter is compared with the second, for the first warms up. Exits with 1 then,
or after an answer that was not expected. With `--record` what it held replaces that of `docs/performance.json`.
"""

import argparse
import asyncio
import base64
import io
import random
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import socketio
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from PIL import Image
from redis.asyncio import Redis
from socketio.exceptions import SocketIOError

from benchmarks import document
from benchmarks.processes import answer, environment_of_portico, process
from benchmarks.report import Figure
from benchmarks.servers import Servers, servers

_CLIENTS = 8
_LEAST_LINES = 4
"""One for each quarter."""
_IDLE = 5.0
"""Seconds that the API has before its first request."""
_USERNAME, _PASSWORD = "soaked", "only to be measured with 7"
_MOST = {"MB": 1.15, "files": 1.1, "tasks": 1.1, "threads": 1.1, "postgres": 1.1, "redis": 1.1}
"""How many times what the second quarter held the last may hold; a few more of small numbers do not count."""
_ID = re.compile(r"[0-9a-f-]{36}")
_SLACK = {"threads": 6, "tasks": _CLIENTS}
"""Motor's pool has five for each core, and makes one when all others are busy: one came in the 16th minute. And on a
busy machine more requests are on their way at once."""
_SLACK_OF_OTHERS = 3


class _Unexpected(Exception):
    """An answer is another than the one that was expected."""


class _Client:
    """A browser that logs in, works, chats, uploads, refreshes and logs out, and some strangers."""

    def __init__(self, api: str, number: int, pause: float) -> None:
        self._api = api
        self._http = httpx.AsyncClient(base_url=api, timeout=60)
        self._store = httpx.AsyncClient(timeout=60)
        self._socket = socketio.AsyncClient(reconnection=False)
        self._number = number
        self._pause = pause
        self._random = random.Random(number)  # noqa: S311 - no secret
        self._made = 0
        self._headers: dict[str, str] = {}
        self._refresh = ""
        self._target = ""
        self.room = ""
        self.sent = 0
        self.unexpected: Counter[str] = Counter()

    async def run(self, until: float) -> None:
        """Do something or other until then."""
        work: Sequence[tuple[Callable[[], Awaitable[None]], int]] = (
            (self._read, 50),
            (self._search, 15),
            (self._chat, 10),
            (self._be_refused, 10),
            (self._write, 6),
            (self._rotate, 5),
            (self._upload, 4),
            (self._give_up_an_upload, 2),
            (self._change_avatar, 1),
            (self._open_and_close_a_room, 2),
            (self._return, 2),
        )
        actions, weights = zip(*work, strict=True)
        await self._connect()
        while time.monotonic() < until:
            (act,) = self._random.choices(actions, weights)
            with suppress(_Unexpected):  # it is counted
                await act()
            await asyncio.sleep(self._random.uniform(0, 2 * self._pause))
        await self._socket.disconnect()
        await self._store.aclose()
        await self._http.aclose()

    async def _send(self, method: str, path: str, expected: int = 200, **given: Any) -> Any:  # noqa: ANN401 - JSON
        headers = {**self._headers, **given.pop("headers", {})}
        found = await self._http.request(method, path, headers=headers, **given)
        self.sent += 1
        if found.status_code != expected:
            what = _ID.sub("{id}", path.partition("?")[0])
            code = found.json().get("error") if found.content else None
            self.unexpected[f"{method} {what}: {found.status_code} {code}"] += 1
            raise _Unexpected
        return found.json().get("data") if found.content and expected < 400 else {}  # noqa: PLR2004 - an error

    async def _read(self) -> None:
        paths = (
            "/auth/user/info",
            "/auth/sessions",
            "/roles",
            "/periodic-tasks",
            "/tasks",
            "/rooms",
            "/files",
            # Of one target: the local stack's document store reads all that match before it cuts off a page.
            f"/audit?target={self._target}",
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
        path = f"/api/v1/users/{made['id']}"
        self._target = f"user:{made['id']}"
        await self._send("PATCH", path, json={"name": "Somebody else"})
        await self._send("DELETE", path)

    async def _rotate(self) -> None:
        given = await self._send(
            "POST", "/api/v1/auth/token/refresh", headers={"X-Refresh-Token": self._refresh}
        )
        self._keep(given)
        await self._emit("auth.refresh", token=given["accessToken"])

    async def _upload(self) -> None:
        content = self._random.randbytes(self._random.randint(1, 2**15)).hex().encode()
        draft = {"name": "soaked.txt", "contentType": "text/plain", "size": len(content)}
        started = await self._send("POST", "/api/v1/files", 201, json=draft)
        path, upload = f"/api/v1/files/{started['file']['id']}", started["upload"]
        stored = await self._store.put(upload["url"], headers=upload["headers"], content=content)
        if stored.is_error:
            self.unexpected[f"the store: {stored.status_code}"] += 1
        await self._send("POST", f"{path}/complete")
        link = await self._send("GET", f"{path}/url")
        if (await self._store.get(link["url"])).content != content:
            self.unexpected["another content"] += 1
        await self._send("DELETE", path)

    async def _give_up_an_upload(self) -> None:
        draft = {"name": "soaked.txt", "contentType": "text/plain", "size": 2**25}
        started = await self._send("POST", "/api/v1/files", 201, json=draft)
        path = f"/api/v1/files/{started['file']['id']}"
        await self._send("GET", f"{path}/parts")
        await self._send("DELETE", f"{path}/upload")

    async def _change_avatar(self) -> None:
        image = io.BytesIO()
        Image.new("RGB", (self._random.randint(100, 1500), 900), "green").save(image, "png")
        headers = {"Content-Type": "image/png"}
        path = "/api/v1/auth/user/avatar"
        await self._send("PUT", path, headers=headers, content=image.getvalue())

    async def _chat(self) -> None:
        await self._emit("chat.typing", room=self.room)
        await self._emit("chat.send", room=self.room, text="soaked", id=self._new_id())
        await self._emit("chat.history", room=self.room, limit=20)

    async def _open_and_close_a_room(self) -> None:
        made = await self._send("POST", "/api/v1/rooms", 201, json={"name": "soaked for a while"})
        await self._emit("room.join", room=made["id"])
        await self._emit("chat.send", room=made["id"], text="soaked", id=self._new_id())
        await self._send("DELETE", f"/api/v1/rooms/{made['id']}")

    async def _emit(self, event: str, **data: object) -> None:
        self.sent += 1
        try:
            ack = await self._socket.call(event, data, timeout=60)
        except SocketIOError as error:
            self.unexpected[f"{event}: {error!r}"] += 1
        else:
            if ack and "error" in ack:
                self.unexpected[f"{event}: {ack['error']['code']}"] += 1

    def _new_id(self) -> str:
        return str(uuid.UUID(bytes=self._random.randbytes(16), version=4))

    async def make_room(self) -> str:
        """Return the id of a new room."""
        await self._log_in()
        made = await self._send("POST", "/api/v1/rooms", 201, json={"name": "soaked"})
        return str(made["id"])

    async def _return(self) -> None:
        await self._send("POST", "/api/v1/auth/logout", 200)
        await self._socket.disconnect()
        await self._connect()

    async def _connect(self) -> None:
        await self._log_in()
        self._socket = socketio.AsyncClient(reconnection=False)
        auth = {"token": self._headers["Authorization"].removeprefix("Bearer ")}
        await self._socket.connect(self._api, auth=auth, transports=["websocket"], wait_timeout=60)
        await self._emit("room.join", room=self.room)

    async def _log_in(self) -> None:
        self._headers = {}
        key = await self._send("GET", "/api/v1/auth/keys/public")
        body = {"username": _USERNAME, "password": _sealed(key), "kid": key["kid"]}
        self._keep(await self._send("POST", "/api/v1/auth/login", json=body))

    def _keep(self, given: Mapping[str, str]) -> None:
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
    parser.add_argument("--record", action="store_true", help="write docs/performance.*")
    given = parser.parse_args()
    idle, lines, faults = asyncio.run(_soak(given.minutes * 60, given.every, given.pause))
    if given.record and len(lines) >= _LEAST_LINES:
        document.record({"soak": _figures(idle, lines, given.minutes)})
    print("\n".join(faults) or "No line rises.")  # noqa: T201 - the result
    sys.exit(1 if faults else 0)


def _figures(idle: float, lines: Sequence[Mapping[str, float]], minutes: float) -> list[Figure]:
    early, late = (statistics.median(each) for each in _quarters(lines, "MB"))
    return [
        Figure(
            row=16,
            what=f"memory: API, used in every way for {minutes:.0f} minutes",
            unit="MB",
            ours=late,
            reference=reference,
            reference_name=name,
            ratio_target=round(1 / _MOST["MB"], 2),
        )
        for name, reference in (("idle", idle), ("after a quarter of them", early))
    ]


async def _soak(
    seconds: float, every: float, pause: float
) -> tuple[float, list[dict[str, float]], list[str]]:
    """Return the MB held before the first request, what is held each time, and what is wrong."""
    with tempfile.TemporaryDirectory(prefix="portico-soak-") as directory:
        async with servers(Path(directory), with_s3=True) as started:
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
                await asyncio.sleep(_IDLE)
                idle = _held(api.pid)["MB"]
                until = time.monotonic() + seconds
                clients = [_Client(f"http://127.0.0.1:{port}", n, pause) for n in range(_CLIENTS)]
                room = await clients[0].make_room()
                for client in clients:
                    client.room = room
                working = [asyncio.create_task(client.run(until)) for client in clients]
                lines = await _watch(api, started, environment, until, every)
                await asyncio.gather(*working)
                print((await answer(api, "names"))["names"])  # noqa: T201 - who holds the threads
    unexpected: Counter[str] = sum((client.unexpected for client in clients), Counter())
    print(f"{sum(client.sent for client in clients):,} requests")  # noqa: T201
    faults = [f"{what} ({times} times)" for what, times in unexpected.items()]
    return idle, lines, faults + rising(lines)


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
    if len(lines) < _LEAST_LINES:
        return ["Too short to say: there are fewer than four lines."]
    faults = []
    for name, most in _MOST.items():
        early, late = (statistics.median(each) for each in _quarters(lines, name))
        if late > max(early * most, early + _SLACK.get(name, _SLACK_OF_OTHERS)):
            faults.append(f"{name} rises: {early:.0f}, in the end {late:.0f}")
    return faults


def _quarters(
    lines: Sequence[Mapping[str, float]], name: str
) -> tuple[Sequence[float], Sequence[float]]:
    """Return what was held in the second quarter, and in the last."""
    quarter = len(lines) // 4
    held = [line[name] for line in lines]
    return held[quarter : 2 * quarter], held[-quarter:]


if __name__ == "__main__":
    main()
