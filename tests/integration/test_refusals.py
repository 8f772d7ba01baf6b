"""Why a server cannot be used: each probe says it in words, asked of real servers, and never with a secret."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from pymongo import MongoClient
from redis import Redis
from sqlalchemy import text

from adapters.mongo.client import mongo_client
from adapters.mongo.health import MongoProbe
from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.health import PostgresProbe
from adapters.redis.client import redis_client
from adapters.redis.health import RedisProbe
from adapters.s3.health import S3Probe
from adapters.system import SystemClock
from application.ports.health import Probe
from application.settings import MongoSettings, PostgresSettings, RedisSettings, S3Settings
from application.use_cases.health import CheckReadiness
from domain.errors import Unavailable
from entrypoints.cli.broker import CeleryProbe
from tests.support.certificates import certify
from tests.support.link import link_to
from tests.support.mongo import Mongo

SECRET = "correct-horse-battery"
PATIENT = timedelta(seconds=10)
REFUSED = "connection refused: nothing listens there"
UNKNOWN = "its host name is not known to DNS"
MAYBE_NO_TLS = "no answer in time; does it speak TLS on this port, as the address demands?"
NO_TLS = "it does not speak TLS on this port, as the address demands"


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def at(url: str, place: str, *, user: str = "somebody", **parts: str) -> str:
    """Return the URL with a password that must not be shown, and another place or other parts."""
    split = urlsplit(url)
    where = place or split.netloc.rpartition("@")[2]
    return split._replace(netloc=f"{user}:{SECRET}@{where}", **parts).geturl()


async def reason(probe: Probe, patience: timedelta = PATIENT) -> str:
    """Return what readiness knows about the dependency."""
    check = CheckReadiness([probe], SystemClock(), timeout=patience)
    answer = await check()
    assert (*answer.down, *answer.degraded) == (probe.name,)
    assert SECRET not in str(answer)
    return answer.reasons[probe.name]


# --- PostgreSQL ---------------------------------------------------------------------------------


def postgres(opened: AsyncExitStack, url: str, timeout: timedelta = PATIENT) -> PostgresProbe:
    settings = PostgresSettings(url=url, timeout=timeout)
    engine = postgres_engine(settings)
    opened.push_async_callback(engine.dispose)
    return PostgresProbe(engine, settings)


async def test_postgres_says_why(
    opened: AsyncExitStack, postgres_url: str, unused_tcp_port: int, tmp_path: Path
) -> None:
    role = urlsplit(postgres_url).username or ""
    said = {
        "port": at(postgres_url, f"127.0.0.1:{unused_tcp_port}"),
        "host": at(postgres_url, "nowhere.invalid:5432"),
        "password": at(postgres_url, "", user=role),
        "database": urlsplit(postgres_url)._replace(path="/nowhere").geturl(),
        "TLS": at(postgres_url, "", query="sslmode=require"),
        "authority": at(postgres_url, "", query=f"sslmode=verify-full&sslrootcert={tmp_path}/none"),
    }

    reasons = {name: await reason(postgres(opened, url)) for name, url in said.items()}

    assert reasons == {
        "port": REFUSED,
        "host": UNKNOWN,
        "password": f'password authentication failed for user "{role}"',
        "database": 'database "nowhere" does not exist',
        "TLS": NO_TLS,
        "authority": "its Unix socket or a file that the address names does not exist",
    }


async def test_postgres_that_does_not_answer_is_said_not_to(
    opened: AsyncExitStack, postgres_url: str
) -> None:
    async with link_to(postgres_url) as link:
        link.freeze()
        probe = postgres(opened, link.url(postgres_url), timedelta(milliseconds=200))

        assert await reason(probe) == "no answer in time"


async def test_missing_privileges_of_the_postgres_user_are_reported(
    opened: AsyncExitStack, postgres_url: str, worker: int
) -> None:
    """It is no mistake of ours, and all we can do is wait for an operator."""
    role = f"portico_reader_{worker}"
    admin = await asyncpg.connect(postgres_url)
    opened.push_async_callback(admin.close)
    await admin.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    opened.push_async_callback(admin.execute, f"DROP ROLE {role}")
    engine = postgres_engine(PostgresSettings(url=at(postgres_url, "", user=role)))
    opened.push_async_callback(engine.dispose)

    async with aclosing(await connect(engine)) as connection:
        with pytest.raises(Unavailable) as refused:
            await connection.execute(text("SELECT count(*) FROM users"))

    assert refused.value.reason == "permission denied for table users"


# --- Redis --------------------------------------------------------------------------------------


def redis(opened: AsyncExitStack, url: str, timeout: timedelta = PATIENT) -> RedisProbe:
    client = redis_client(RedisSettings(url=url, timeout=timeout))
    opened.push_async_callback(client.aclose)
    return RedisProbe(client)


async def test_redis_says_why(
    opened: AsyncExitStack, redis_url: str, unused_tcp_port: int, worker: int
) -> None:
    role = f"portico_reader_{worker}"
    with Redis.from_url(redis_url) as admin:
        admin.acl_setuser(role, enabled=True, passwords=[f"+{SECRET}"], commands=["-@all"])
    place = urlsplit(redis_url).netloc.rpartition("@")[2]
    said = {
        "port": at(redis_url, f"127.0.0.1:{unused_tcp_port}"),
        "host": at(redis_url, "nowhere.invalid:6379"),
        "password": at(redis_url, "", user=""),
        "user": at(redis_url, ""),
        "none": urlsplit(redis_url)._replace(netloc=place).geturl(),
        "rights": at(redis_url, "", user=role, path="/0"),
        "TLS": at(redis_url, "", scheme="rediss"),
        "number": urlsplit(redis_url)._replace(path="/99999").geturl(),
    }

    soon = timedelta(seconds=1)
    reasons = {name: await reason(redis(opened, url, soon)) for name, url in said.items()}

    with Redis.from_url(redis_url) as admin:
        admin.acl_deluser(role)
    wrong = "invalid username-password pair or user is disabled."
    assert {**reasons, "rights": "", "none": ""} == {
        "port": REFUSED,
        "host": UNKNOWN,
        "password": wrong,
        "user": wrong,
        "none": "",
        "rights": "",
        "TLS": MAYBE_NO_TLS,
        "number": "DB index is out of range",
    }
    assert reasons["none"] == "Authentication required."
    assert "has no permissions to run the 'ping' command" in reasons["rights"]


async def test_a_certificate_that_is_not_accepted_is_reported(
    opened: AsyncExitStack, redis_url: str, tmp_path: Path
) -> None:
    """Of an authority that is not known, and for another host."""
    certified = certify("localhost", tmp_path)
    async with encrypted(redis_url, certified.certificate, certified.key) as port:
        stranger = at(redis_url, f"localhost:{port}", scheme="rediss")
        known = f"ssl_ca_certs={certified.authority}"
        other_host = at(redis_url, f"127.0.0.1:{port}", scheme="rediss", query=known)

        assert "its certificate is not accepted: " in await reason(redis(opened, stranger))
        assert "IP address mismatch" in await reason(redis(opened, other_host))


@asynccontextmanager
async def encrypted(url: str, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Listen with TLS in front of a server; yield the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_redis_that_does_not_answer_is_said_not_to(
    opened: AsyncExitStack, redis_url: str
) -> None:
    async with link_to(redis_url) as link:
        link.freeze()
        probe = redis(opened, link.url(redis_url), timedelta(milliseconds=200))

        assert await reason(probe) == "no answer in time"


# --- MongoDB ------------------------------------------------------------------------------------


def mongo(opened: AsyncExitStack, url: str, timeout: timedelta = PATIENT) -> MongoProbe:
    settings = MongoSettings(url=url, timeout=timeout)
    client = mongo_client(settings)
    opened.push_async_callback(asyncio.to_thread, client.close)
    return MongoProbe(client, settings)


async def test_mongo_says_why(opened: AsyncExitStack, mongo_url: str, unused_tcp_port: int) -> None:
    soon = timedelta(seconds=1.5)
    said = {
        "port": at(mongo_url, f"127.0.0.1:{unused_tcp_port}"),
        "host": at(mongo_url, "nowhere.invalid:27017"),
        "hosts": f"mongodb+srv://ada:{SECRET}@nowhere.invalid/",
        "TLS": at(mongo_url, "", query="directConnection=true&tls=true"),
    }

    reasons = {name: await reason(mongo(opened, url, soon)) for name, url in said.items()}

    assert reasons == {
        "port": REFUSED,
        "host": UNKNOWN,
        "hosts": UNKNOWN,
        "TLS": MAYBE_NO_TLS,
    }


async def test_mongo_that_requires_a_password_is_down_without_one(
    opened: AsyncExitStack, tmp_path: Path
) -> None:
    """Though it answers a ping."""
    server = Mongo(tmp_path)
    with server:
        admin: MongoClient[dict[str, object]]
        with MongoClient(server.url) as admin:
            admin.admin.command("createUser", "ada", pwd=SECRET, roles=["root"])
        await server.kill()
        server.options = ("--auth",)
        await server.start()

        await mongo(opened, at(server.url, "", user="ada")).check()
        wrong = at(server.url, "", user="ada").replace(SECRET, "another-secret")
        assert "uthentication failed" in await reason(mongo(opened, wrong))
        assert "uthentication" in await reason(mongo(opened, server.url))


# --- S3 -----------------------------------------------------------------------------------------


async def test_s3_says_why(s3_settings: S3Settings, unused_tcp_port: int) -> None:
    url = urlsplit(s3_settings.url or "")
    said = {
        "port": replace(s3_settings, url=f"http://127.0.0.1:{unused_tcp_port}"),
        "host": replace(s3_settings, url="http://nowhere.invalid"),
        "TLS": replace(s3_settings, url=url._replace(scheme="https").geturl()),
        "bucket": replace(s3_settings, bucket="no-such-bucket"),
        "key": replace(s3_settings, access_key="nobody"),
        "secret": replace(s3_settings, secret_key=SECRET),
    }

    reasons: dict[str, str] = {}
    for name, settings in said.items():
        reasons[name] = await reason(S3Probe(settings, SystemClock()))

    assert reasons == {
        "port": REFUSED,
        "host": UNKNOWN,
        "TLS": NO_TLS,
        "bucket": "the bucket no-such-bucket does not exist",
        "key": "the access key is not known",
        "secret": "the secret key is not the right one",
    }


# --- broker and results -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["broker", "result"])
async def test_broker_and_results_say_why(name: str, redis_url: str, unused_tcp_port: int) -> None:
    """With Celery's own connection: its address may be another one, and need other rights."""
    reasons = [
        await reason(CeleryProbe(name, url), timedelta(seconds=30))
        for url in (at(redis_url, f"127.0.0.1:{unused_tcp_port}"), at(redis_url, ""))
    ]

    assert "Connection refused" in reasons[0]
    assert "invalid username-password pair" in reasons[1]
