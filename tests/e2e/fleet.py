"""Several API processes that share servers, and clients of them."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from pymongo import MongoClient
from redis import Redis

from adapters.postgres.schema import PostgresSchema
from adapters.redis.client import redis_client
from application.ports.access_versions import DIRTY_TTL
from application.settings import PostgresSettings, RedisSettings
from local_stack.servers import choose_ports
from tests.e2e.command import addresses, portico, starting
from tests.support.keys import a_pem, a_private_key
from tests.support.plain_http import NO_TLS
from tests.support.redis_clock import ClockWithRedis
from tests.support.servers import Servers, redis_urls

ADMINISTRATOR = "administrator"
PASSWORD = "correct horse battery staple"
_NO_LIMIT = "1000000/1"


@dataclass(frozen=True, slots=True)
class Fleet:
    """API processes that serve, by their addresses. There is one administrator, whose password is `PASSWORD`."""

    urls: Sequence[str]
    redis_url: str

    def remembered(self) -> int:
        """Return of how many users the processes have shared what they may do."""
        with Redis.from_url(self.redis_url, socket_timeout=10) as client:
            return len(client.keys("auth:permission:*"))


@contextmanager
def fleet(
    servers: Servers, directory: Path, *, size: int, worker: int, **more: str
) -> Iterator[Fleet]:
    """Start `size` processes on databases of their own, which are the `worker`'s; end them afterwards.

    It is long ago that Redis was started, so no user is dirty. `more` are further variables of their environment.
    """
    variables = variables_of(servers, worker, **more)
    ports = choose_ports(tuple(f"api-{n}" for n in range(size)), {})
    with ExitStack() as stack:
        processes = {}
        for process, port in ports.items():
            (directory / process).mkdir()
            processes[f"http://127.0.0.1:{port}"] = stack.enter_context(
                starting("api", "--port", str(port), directory=directory / process, **variables)
            )
        created = portico("create-admin", directory=directory, **variables)
        assert created.returncode == 0, created.stderr
        for url, started in processes.items():
            started.wait_until(partial(answers, url))
        fleet = Fleet(tuple(processes), variables["PORTICO_REDIS_URL"])
        asyncio.run(_pass_dirty_ttl(fleet))
        yield fleet


def variables_of(servers: Servers, worker: int, **more: str) -> dict[str, str]:
    """Return the variables of processes that share empty databases of their own, which are the `worker`'s."""
    name = f"portico_fleet_{worker}"
    return addresses(
        servers,
        PORTICO_POSTGRES_URL=migrated(servers.postgres_url, name),
        PORTICO_REDIS_URL=flushed(servers, worker),
        PORTICO_MONGO_DATABASE=dropped(servers.mongo_url, name),
        PORTICO_ACCESS_KEY=a_pem("access"),
        PORTICO_REFRESH_KEY=a_pem("refresh"),
        PORTICO_TRANSPORT_KEY=a_pem("transport"),
        PORTICO_NAME_KEY="n" * 32,
        **({"PORTICO_ARGON2_MEMORY_KIB": "64", "PORTICO_ARGON2_TIME_COST": "1"} | more),
        PORTICO_THROTTLE_ACCOUNT=_NO_LIMIT,
        PORTICO_THROTTLE_ADDRESS=_NO_LIMIT,
        PORTICO_THROTTLE_GLOBAL=_NO_LIMIT,
        PORTICO_THROTTLE_PUBLIC=_NO_LIMIT,
        PORTICO_THROTTLE_REFRESH=_NO_LIMIT,
        PORTICO_ADMIN_USERNAME=ADMINISTRATOR,
        PORTICO_ADMIN_PASSWORD=PASSWORD,
        PORTICO_LOG_LEVEL="WARNING",
    )


def sealed(password: str) -> str:
    """Encrypt a password as the documentation tells clients to."""
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    public = a_private_key("transport").public_key()
    return b64encode(public.encrypt(password.encode(), oaep)).decode()


async def log_in(client: httpx.AsyncClient, username: str) -> dict[str, str]:
    """Return the headers of a user whose password is `PASSWORD`, always on the same device.

    What others try with the name, wrong passwords too, does not lock that device out.
    """
    body = {"username": username, "password": sealed(PASSWORD)}
    if username in _devices:
        body["deviceToken"] = _devices[username]
    response = await client.post("/api/v1/auth/login", json=body)
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    _devices[username] = data["deviceToken"]
    return {"Authorization": f"Bearer {data['accessToken']}"}


_devices: dict[str, str] = {}


async def made(response: httpx.Response) -> Any:
    """Return the data of a success."""
    assert response.is_success, response.text
    return response.json()["data"]


async def _pass_dirty_ttl(fleet: Fleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.urls[0], verify=NO_TLS) as client:
        await client.get("/api/v1/roles/mine", headers=await log_in(client, ADMINISTRATOR))
    redis = redis_client(RedisSettings(url=fleet.redis_url))
    await ClockWithRedis(redis).pass_time(DIRTY_TTL)
    await redis.aclose()


def answers(url: str) -> bool:
    """Return whether a process serves."""
    try:
        return httpx.get(f"{url}/readyz", verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False


def migrated(url: str, name: str) -> str:
    """Make a database of that name anew, with the newest schema; return its address."""
    own = created(url, name)
    asyncio.run(PostgresSchema(PostgresSettings(url=own)).upgrade())
    return own


def created(url: str, name: str) -> str:
    """Make a database of that name anew, without a table; return its address."""

    async def make() -> None:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()

    asyncio.run(make())
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def flushed(servers: Servers, worker: int) -> str:
    """Empty the Redis database of a worker's processes; return its address."""
    _, url = redis_urls(servers, worker)
    with Redis.from_url(url, socket_timeout=10) as client:
        client.flushdb()
    return url


def dropped(url: str, name: str) -> str:
    """Remove the database of that name; return the name."""
    client: MongoClient[Mapping[str, object]]
    with MongoClient(url, serverSelectionTimeoutMS=10_000) as client:
        client.drop_database(name)
    return name
