"""The commands beside `portico run`: what they do, what they print, how they end."""

import asyncio
import io
import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from domain.scheduling.zones import zone_rules_version
from entrypoints.cli import app
from local_stack.servers import choose_ports
from tests.e2e.command import PORTICO, addresses, environment, portico, starting
from tests.support.servers import Servers
from tests.support.valkey import Valkey

COMMANDS = (
    "run",
    "api",
    "worker",
    "beat",
    "migrate",
    "create-admin",
    "set-password",
    "psql",
    "reset",
    "make-keys",
    "sync-routes",
    "openapi",
    "asyncapi",
    "doctor",
)
NOWHERE = "127.0.0.1:1"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        result: dict[str, object] = json.loads(self.out)
        return result


Command = Callable[..., Result]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Return `portico` without the time that a new process takes; variables are keyword arguments."""

    def run(*arguments: str, **variables: str) -> Result:
        wanted = environment(tmp_path, **variables)
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["portico", *arguments])
            for name in ("ENVIRONMENT", *(n for n in wanted if n.startswith("PORTICO_"))):
                patch.setenv(name, wanted[name])
            with pytest.raises(SystemExit) as ended:
                app.main()
        captured = capfd.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of keys as `portico make-keys` makes it."""
    directory = tmp_path_factory.mktemp("keys") / "keys"
    made = portico("make-keys", str(directory), "--json", directory=directory.parent)
    assert made.returncode == 0, made.stderr
    assert sorted(json.loads(made.stdout)["files"]) == sorted(map(str, directory.iterdir()))
    return directory


@pytest.fixture
def port() -> int:
    """Return a port that nothing listens on."""
    return choose_ports(("http",), {})["http"]


@pytest.fixture
def new_database(servers: Servers, worker: int) -> Iterator[str]:
    """Return the address of a database without a table."""
    name = f"portico_test_cli_{worker}"

    async def execute(*statements: str) -> None:
        connection = await asyncpg.connect(servers.postgres_url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    asyncio.run(execute(drop, f"CREATE DATABASE {name}"))
    yield urlunsplit(urlsplit(servers.postgres_url)._replace(path=f"/{name}"))
    asyncio.run(execute(drop))


# --- for people and scripts -----------------------------------------------------------------------


def test_portico_alone_lists_its_commands(command: Command) -> None:
    result = command("--help")

    assert result.code == 0
    assert [name for name in COMMANDS if name not in result.out] == []
    assert "Exit codes" in result.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(command: Command, name: str) -> None:
    result = command(name, "--help")

    assert result.code == 0
    assert f"Usage: portico {name}" in result.out


def test_it_tells_its_version(command: Command) -> None:
    result = command("--version")

    assert (result.code, result.out) == (0, f"portico {version('portico')}\n")


def test_all_wrong_settings_are_reported_at_once(command: Command) -> None:
    """One line for each, in words, and never the value: it may be a secret."""
    result = command(
        "migrate", PORTICO_HTTP_PORT="http", PORTICO_POSTGRES_URL="s3cret", PORTICO_HTP_HOST="x"
    )

    assert result.code == 2
    assert sorted(re.findall(r"^portico: (PORTICO_\w+)", result.err, re.MULTILINE)) == [
        "PORTICO_HTP_HOST",
        "PORTICO_HTTP_PORT",
        "PORTICO_POSTGRES_URL",
    ]
    assert "Traceback" not in result.err
    assert "s3cret" not in result.err


def test_unsafe_settings_are_refused_by_name(command: Command) -> None:
    result = command("create-admin", ENVIRONMENT="PRODUCTION", PORTICO_STORES="memory")

    assert result.code == 2
    for variable in ("STORES", "ACCESS_KEY", "REFRESH_KEY", "TRANSPORT_KEY", "NAME_KEY", "ISSUER"):
        assert f"PORTICO_{variable} must be" in result.err


def test_the_default_environment_is_named_when_none_is_set(command: Command) -> None:
    unnamed = command("create-admin", ENVIRONMENT="")
    named = command("create-admin", ENVIRONMENT="PRODUCTION")

    hint = (
        "ENVIRONMENT is not set, so this is PRODUCTION; on your own machine set ENVIRONMENT=LOCAL"
    )
    assert (unnamed.code, named.code) == (2, 2)
    assert unnamed.err.splitlines()[-1] == hint
    assert hint not in named.err


@pytest.mark.server
def test_a_server_that_does_not_answer_has_an_exit_code_of_its_own(
    command: Command, servers: Servers
) -> None:
    away = addresses(servers, PORTICO_POSTGRES_URL=f"postgresql://portico@{NOWHERE}/portico")
    result = command("migrate", "--wait", "3", **away)

    assert result.code == 3
    assert "No answer from postgres yet; asking again" in result.err
    assert (
        "connection refused: nothing listens there; is it up, and is PORTICO_POSTGRES_URL right?"
        in result.err
    )
    assert "Traceback" not in result.err


@pytest.mark.server
def test_a_wrong_address_of_results_is_reported_before_a_worker_starts(
    command: Command, servers: Servers, postgres_url: str
) -> None:
    """It would run tasks whose results are lost."""
    variables = addresses(
        servers, PORTICO_POSTGRES_URL=postgres_url, PORTICO_RESULT_URL=f"redis://{NOWHERE}/0"
    )

    worker = command("worker", "--wait", "0", **variables)
    doctor = command("doctor", **variables)

    for said in (worker.err, doctor.out):
        assert "Connection refused" in said
        assert "PORTICO_RESULT_URL" in said
    assert (worker.code, doctor.code) == (3, 3)


@pytest.mark.server
def test_a_wrong_password_is_reported_without_the_password(
    command: Command, servers: Servers, postgres_url: str
) -> None:
    """By all that query the database: a command that starts something, one that changes something, the doctor."""
    split = urlsplit(postgres_url)
    place = split.netloc.rpartition("@")[2]
    wrong = split._replace(netloc=f"{split.username}:correct-horse@{place}").geturl()
    variables = addresses(servers, PORTICO_POSTGRES_URL=wrong)

    results = [command(*c, "--wait", "0", **variables) for c in (("migrate",), ("beat",), ("api",))]
    results.append(command("doctor", **variables))

    for result in results:
        assert result.code == 3
        assert "password authentication failed for user" in result.out + result.err
        assert "correct-horse" not in result.out + result.err


# --- migrate --------------------------------------------------------------------------------------


def test_migrate_brings_an_empty_database_to_the_newest_schema(
    command: Command, servers: Servers, new_database: str
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=new_database)

    before = command("migrate", "--check", "--json", **variables)
    migrated = command("migrate", **variables)
    again = command("migrate", "--json", **variables)
    after = command("migrate", "--check", **variables)

    assert (before.code, before.json) == (1, {"current": False})
    assert "portico migrate" in before.err
    assert migrated.code == 0
    assert (again.code, again.json) == (0, {"current": True})
    assert (after.code, after.out) == (0, "The database has the newest schema\n")


def test_no_migration_is_written_while_tables_and_migrations_agree(
    command: Command, servers: Servers, new_database: str
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=new_database)

    result = command("migrate", "--autogenerate", "nothing", "--json", **variables)

    assert (result.code, result.json) == (0, {"file": None})


def test_a_database_of_another_branch_is_refused_by_every_command_without_a_traceback(
    command: Command, servers: Servers, new_database: str, tmp_path: Path
) -> None:
    """Both migrations are named, and nothing is changed."""
    variables = addresses(servers, PORTICO_POSTGRES_URL=new_database)
    assert command("migrate", **variables).code == 0

    async def switch_branches() -> None:
        connection = await asyncpg.connect(new_database)
        try:
            await connection.execute("DELETE FROM applied_migrations")
            await connection.execute("UPDATE alembic_version SET version_num = 'other_branch'")
        finally:
            await connection.close()

    asyncio.run(switch_branches())

    for arguments in (
        ("migrate",),
        ("migrate", "--check"),
        ("migrate", "--autogenerate", "more"),
        ("api",),
        ("worker",),
        ("beat",),
        ("sync-routes",),
    ):
        refused = command(*arguments, **variables)
        assert refused.code == 1, (arguments, refused)
        assert "other_branch" in refused.err
        assert "which this code does not know, and lacks" in refused.err
        assert "Traceback" not in refused.err
    assert "other_branch" in command("doctor", **variables).out


def test_checking_and_writing_a_migration_exclude_each_other(command: Command) -> None:
    result = command("migrate", "--check", "--autogenerate", "x")

    assert result.code == 2
    assert "--autogenerate" in result.err


# --- create-admin ---------------------------------------------------------------------------------


def test_the_first_administrator_is_made_once(
    command: Command, servers: Servers, postgres_url: str
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=postgres_url)

    first = command("create-admin", "--username", "grace", "--json", **variables)
    second = command("create-admin", "--username", "hopper", "--json", **variables)

    assert (first.code, first.json["created"], first.json["username"]) == (0, True, "grace")
    assert len(str(first.json["one_time_password"])) >= 20
    assert (second.code, second.json["created"]) == (0, False)


def test_production_generates_no_password(
    command: Command, servers: Servers, postgres_url: str, keys: Path
) -> None:
    variables = addresses(
        servers,
        ENVIRONMENT="PRODUCTION",
        PORTICO_POSTGRES_URL=postgres_url,
        PORTICO_KEYS_DIR=str(keys),
        PORTICO_ISSUER="https://portico.example.org",
    )

    refused = command("create-admin", **variables)
    made = command("create-admin", PORTICO_ADMIN_PASSWORD="purple elephants at noon", **variables)

    assert refused.code == 2
    assert "PORTICO_ADMIN_PASSWORD must be set in PRODUCTION" in refused.err
    assert (made.code, made.out) == (0, "Username        admin\n")


def test_a_password_that_the_policy_refuses_is_a_wrong_setting(
    command: Command, servers: Servers, postgres_url: str
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=postgres_url)

    result = command("create-admin", PORTICO_ADMIN_PASSWORD="short", **variables)

    assert result.code == 2
    assert "PORTICO_ADMIN_PASSWORD is refused: " in result.err


# --- set-password ---------------------------------------------------------------------------------


def test_a_lost_administrator_gets_a_new_password_from_a_file_or_a_pipe(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    servers: Servers,
    postgres_url: str,
    tmp_path: Path,
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=postgres_url)
    command("create-admin", "--username", "grace", **variables)
    (tmp_path / "password").write_text("purple elephants at noon\n")

    from_file = command("set-password", "grace", "--file", "password", **variables)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO("green elephants at noon\n"))
        piped = command("set-password", "grace", "--json", **variables)
        patch.setattr(sys, "stdin", io.StringIO("short"))
        bad = command("set-password", "grace", **variables)
    unknown = command("set-password", "hopper", "--file", "password", **variables)

    assert (from_file.code, from_file.out) == (
        0,
        "grace has the new password; all their sessions have ended\n",
    )
    assert (piped.code, piped.json) == (0, {"username": "grace", "active": True})
    assert (bad.code, "needs at least 12 characters" in bad.err) == (1, True)
    assert (unknown.code, "There is no user hopper" in unknown.err) == (1, True)


def test_a_password_is_asked_for_twice_on_a_terminal(tmp_path: Path) -> None:
    """What is typed is not shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - ours
        [PORTICO, "set-password", "grace"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as asked:
        os.close(theirs)
        shown = ""
        for prompt, typed in (("New password: ", "one"), ("Repeat the password: ", "other")):
            while prompt not in shown:
                shown += os.read(ours, 1000).decode()
            os.write(ours, f"{typed}\n".encode())
        while "nothing was changed" not in shown:
            shown += os.read(ours, 1000).decode()
    os.close(ours)

    assert asked.returncode == 1
    assert "other" not in shown


def test_memory_has_no_password_that_another_process_could_set(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "password").touch()

    refused = command("set-password", "grace", "--file", "password", PORTICO_STORES="memory")

    assert refused.code == 1
    assert "PORTICO_STORES=memory" in refused.err


# --- psql -----------------------------------------------------------------------------------------


def test_psql_talks_to_the_database_of_the_settings(
    servers: Servers, postgres_url: str, tmp_path: Path
) -> None:
    """And it does not show its password: neither in a list of processes, nor in an answer."""
    variables = addresses(servers, PORTICO_POSTGRES_URL=postgres_url)

    asked = portico("psql", "-c", "SELECT 6 * 7 AS answer", directory=tmp_path, **variables)
    wrong = portico("psql", "-c", "SELECT", "--wait", "1", directory=tmp_path, **variables)
    bad = portico("psql", "-c", "SELECT nothing", directory=tmp_path, **variables)

    assert (asked.returncode, "42" in asked.stdout) == (0, True)
    assert wrong.returncode == 0
    assert (bad.returncode, "Traceback" in bad.stderr) == (1, False)


def test_a_machine_without_psql_takes_that_of_the_local_stack(
    servers: Servers, postgres_url: str, tmp_path: Path
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=postgres_url, PATH=str(tmp_path))

    asked = portico("psql", "-c", "SELECT 6 * 7 AS answer", directory=tmp_path, **variables)

    assert (asked.returncode, "42" in asked.stdout) == (0, True), asked.stderr


# --- reset ----------------------------------------------------------------------------------------


def test_a_reset_removes_what_is_ours_and_says_so(command: Command, tmp_path: Path) -> None:
    for name in ("postgres", "keys", "holiday"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "file").touch()
    (tmp_path / "data" / "stack.json").touch()

    unsure = command("reset")
    deployed = command("reset", "--yes", ENVIRONMENT="PRODUCTION")
    assert (tmp_path / "data" / "postgres" / "file").exists()
    meant = command("reset", "--yes")
    again = command("reset", "--yes")

    assert (unsure.code, "--yes" in unsure.err) == (1, True)
    assert (deployed.code, "no local data" in deployed.err) == (1, True)
    assert (meant.code, meant.out.splitlines()[0]) == (
        0,
        (f"This deletes all local data: postgres, stack.json, keys, lock in {tmp_path / 'data'}"),
    )
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["holiday"]
    assert (again.code, again.out) == (0, f"There is no data in {tmp_path / 'data'}\n")


# --- make-keys ------------------------------------------------------------------------------------


def test_keys_are_for_their_owner_alone_and_never_overwritten(command: Command, keys: Path) -> None:
    before = {path.name: path.read_bytes() for path in keys.iterdir()}

    again = command("make-keys", str(keys))

    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert again.code == 0
    assert "--rotate" in again.out
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


def test_rotation_puts_the_next_keys_in_use(command: Command, keys: Path, tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    for path in keys.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())

    rotated = command("make-keys", str(directory), "--rotate", "--json")

    assert rotated.code == 0
    assert "Restart every process" in rotated.err
    for purpose in ("access", "refresh", "transport"):
        following = (keys / f"{purpose}.next.pem").read_bytes()
        assert (directory / f"{purpose}.active.pem").read_bytes() == following


def test_a_place_that_cannot_hold_keys_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = command("make-keys", str(tmp_path / "file" / "keys"))

    assert result.code == 1
    assert f"{tmp_path / 'file' / 'keys'} cannot hold keys: Not a directory" in result.err


# --- sync-routes ----------------------------------------------------------------------------------


def test_the_catalogue_is_made_before_the_api_runs(
    command: Command, servers: Servers, new_database: str
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=new_database)

    too_early = command("sync-routes", **variables)
    command("migrate", **variables)
    synced = command("sync-routes", "--json", **variables)
    again = command("sync-routes", **variables)

    assert too_early.code == 1
    assert "portico migrate" in too_early.err
    permissions = synced.json["permissions"]
    assert isinstance(permissions, list)
    assert "GET:/api/v1/users/{user_id}" in permissions
    assert (again.code, str(len(permissions)) in again.out) == (0, True)


# --- openapi --------------------------------------------------------------------------------------


def test_the_api_is_described_without_settings_and_servers(
    command: Command, tmp_path: Path
) -> None:
    shown = command("openapi", ENVIRONMENT="PRODUCTION")
    written = command("openapi", "openapi.json", ENVIRONMENT="PRODUCTION")

    assert (shown.code, written.code) == (0, 0)
    assert str(shown.json["openapi"]).startswith("3.1")
    assert json.loads((tmp_path / "openapi.json").read_text()) == shown.json
    assert list(tmp_path.iterdir()) == [tmp_path / "openapi.json"]


# --- doctor ---------------------------------------------------------------------------------------


def test_the_doctor_finds_nothing_where_nothing_is_wrong(
    command: Command, servers: Servers, postgres_url: str
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=postgres_url)

    result = command("doctor", **variables)

    assert result.code == 0, result.out
    assert "✗" not in result.out
    assert "schema       has every migration" in result.out
    assert f"time zones   of tzdata {zone_rules_version()}" in result.out


def test_the_doctor_names_what_is_down_and_what_is_missing(
    command: Command, servers: Servers, new_database: str
) -> None:
    variables = addresses(
        servers, PORTICO_POSTGRES_URL=new_database, PORTICO_REDIS_URL=f"redis://{NOWHERE}"
    )

    result = command("doctor", "--json", **variables)

    findings = {f["check"]: f for f in json.loads(result.out)["findings"]}
    assert result.code == 3
    assert findings["redis"]["exit_code"] == 3
    assert "connection refused" in findings["redis"]["detail"]
    assert findings["mongo"]["exit_code"] == 0
    assert "portico migrate" in findings["schema"]["detail"]


def test_the_doctor_names_wrong_settings(command: Command) -> None:
    result = command("doctor", PORTICO_HTTP_PORT="http")

    assert result.code == 2
    assert "✗ settings     PORTICO_HTTP_PORT must be a port" in result.out


def test_the_doctor_distinguishes_our_api_from_others_on_its_port(
    command: Command, port: int, keys: Path
) -> None:
    """It publishes our keys."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"keys": [{"kid": "another"}]}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Other) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        result = command("doctor", PORTICO_HTTP_PORT=str(port), PORTICO_KEYS_DIR=str(keys))
        server.shutdown()
        thread.join()

    assert result.code == 1
    assert f"✗ port         Port {port} of 127.0.0.1 is taken" in result.out


@pytest.mark.server
def test_the_doctor_says_what_does_not_run_and_what_may_be_lost(
    command: Command, servers: Servers, postgres_url: str, tmp_path: Path
) -> None:
    """Without workers and a beat it is not wrong; a Redis that drops sessions when it is full is."""
    (tmp_path / "redis").mkdir()
    full = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    with Valkey(tmp_path / "redis", *full) as valkey:
        variables = addresses(
            servers, PORTICO_POSTGRES_URL=postgres_url, PORTICO_REDIS_URL=valkey.url
        )
        result = command("doctor", "--json", **variables)

    findings = {each["check"]: each for each in json.loads(result.out)["findings"]}
    assert result.code == 1
    assert findings["redis memory"]["exit_code"] == 1
    assert "allkeys-lru" in findings["redis memory"]["detail"]
    assert {name for name, each in findings.items() if each["warning"]} == {"beat", "workers"}
    assert {"disk", "redis clock", "postgres clock", "redis data"} <= findings.keys()


def test_in_memory_nothing_is_said_of_servers_that_are_not_there(command: Command) -> None:
    said = {
        arguments: command(*arguments, PORTICO_STORES="memory")
        for arguments in (
            ("doctor",),
            ("migrate",),
            ("migrate", "--check"),
            ("migrate", "--autogenerate", "x"),
            ("create-admin",),
            ("sync-routes",),
        )
    }

    assert {arguments: result.code for arguments, result in said.items()} == {
        ("doctor",): 0,
        ("migrate",): 0,
        ("migrate", "--check"): 0,
        ("migrate", "--autogenerate", "x"): 1,
        ("create-admin",): 1,
        ("sync-routes",): 1,
    }
    assert all("PORTICO_STORES=memory" in result.out + result.err for result in said.values())
    assert not any(re.search("answers|newest", result.out) for result in said.values())


def test_the_doctor_knows_that_run_starts_what_is_not_configured(command: Command) -> None:
    result = command("doctor")

    assert result.code == 0
    assert "`portico run` starts its own" in result.out


# --- api ------------------------------------------------------------------------------------------


def test_the_api_refuses_to_serve_an_old_schema(
    servers: Servers, new_database: str, tmp_path: Path
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=new_database)

    refused = portico("api", directory=tmp_path, **variables)

    assert refused.returncode == 1
    assert "Migrations are missing; run `portico migrate`" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_several_workers_serve_and_stop_together(
    servers: Servers, postgres_url: str, port: int, tmp_path: Path
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=postgres_url)
    arguments = ("api", "--workers", "2", "--port", str(port))
    with starting(*arguments, directory=tmp_path, **variables) as api:
        api.wait_until(lambda: api.said().count("Application startup complete") == 2)
        ready = httpx.get(f"http://127.0.0.1:{port}/readyz")

        assert ready.status_code == 200
        assert len(api.family()) >= 3
        assert api.stop(signal.SIGTERM) == 0
