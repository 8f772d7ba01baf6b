"""`portico run`: from nothing to a person who logs in, and back to nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.command import Started, addresses, environment, portico, running, starting
from tests.support.processes import family_of, kill_all, survivors
from tests.support.servers import Servers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.server

CELERY = str(Path(sys.executable).with_name("celery"))
APP = ("-A", "entrypoints.celery.app")
HERE = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Start everything, once for the tests that change nothing."""
    with running(tmp_path_factory.mktemp("run")) as started:
        yield started


# --- what is there once it is ready ---------------------------------------------------------------


def test_one_block_says_where_everything_is(stack: Started) -> None:
    ready = httpx.get(f"{stack.block['API']}/readyz").json()
    docs = httpx.get(stack.block["Docs"])

    assert sorted(ready["data"]["up"]) == ["mongo", "postgres", "redis", "s3", "schema"]
    assert docs.status_code == 200
    assert stack.block["Data"] == str(stack.directory / "data")
    assert sorted(path.name for path in Path(stack.block["Server logs"]).iterdir()) == [
        "mongo.log",
        "postgres.log",
        "redis.log",
        "s3.log",
    ]


def test_the_first_administrator_logs_in_with_the_password_that_was_shown(stack: Started) -> None:
    password = stack.block["Password"].split()[0]

    assert log_in(stack.block["API"], stack.block["Username"], password) == 200


def test_other_commands_find_the_servers_of_a_running_stack(stack: Started) -> None:
    migrated = portico("migrate", "--check", directory=stack.directory)
    administrator = portico("create-admin", "--json", directory=stack.directory)
    doctor = portico("doctor", "--json", directory=stack.directory)

    assert migrated.returncode == 0, migrated.stderr
    assert json.loads(administrator.stdout)["created"] is False
    assert doctor.returncode == 0, doctor.stdout
    assert f"pid {stack.process.pid}" in doctor.stdout


# --- what is refused ------------------------------------------------------------------------------


def test_a_second_start_names_the_one_that_runs(stack: Started) -> None:
    second = portico("run", directory=stack.directory)

    assert second.returncode == 1
    assert f"is already running in {stack.directory / 'data'}" in second.stderr
    assert f"pid {stack.process.pid}" in second.stderr


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        refused = portico("run", directory=tmp_path, PORTICO_HTTP_PORT=str(port))

    assert refused.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in refused.stderr
    assert "PORTICO_HTTP_PORT" in refused.stderr
    assert not (tmp_path / "data" / "logs").exists()


def test_a_place_that_cannot_hold_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    refused = portico("run", directory=tmp_path)

    assert refused.returncode == 1
    assert f"portico: {tmp_path / 'data'} cannot hold data: File exists. " in refused.stderr
    assert "PORTICO_DATA_DIR" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "logs").touch()

    refused = portico("run", directory=tmp_path)

    assert refused.returncode == 1
    assert f"portico: {tmp_path / 'data' / 'logs'} cannot be used: File exists" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_data_damaged_by_an_earlier_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stack.json").write_text('{"secret": ')

    refused = portico("run", directory=tmp_path)

    assert refused.returncode == 1
    assert f"{tmp_path / 'data' / 'stack.json'} is damaged" in refused.stderr
    assert "make reset" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_deployed_environments_get_no_servers_of_our_own(tmp_path: Path) -> None:
    refused = portico("run", directory=tmp_path, ENVIRONMENT="PRODUCTION")

    assert refused.returncode == 2
    assert "PORTICO_POSTGRES_URL must be set" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_data_that_is_in_use_is_not_removed(stack: Started) -> None:
    refused = portico("reset", "--yes", directory=stack.directory)

    assert refused.returncode == 1
    assert f"pid {stack.process.pid}" in refused.stderr


# --- Celery's own commands, as people type them beside it: without a setting, in its directory -----


@pytest.fixture
def beside(stack: Started) -> Path:
    """Return the directory of the running stack."""
    # The API is ready first; its worker follows.
    stack.wait_until(lambda: "ready. " in stack.said())
    return stack.directory


def celery(
    *arguments: str, directory: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end. Nothing says which environment this is."""
    return subprocess.run(  # noqa: S603 - ours
        [CELERY, *APP, *arguments],
        check=False,
        cwd=directory,
        env=environment(directory, PYTHONPATH=HERE, **{"ENVIRONMENT": "", **variables}),
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextmanager
def started(*arguments: str, directory: Path) -> Iterator[Started]:
    options = {"directory": directory, "PYTHONPATH": HERE, "ENVIRONMENT": ""}
    with starting(*APP, *arguments, program=CELERY, **options) as command:  # type: ignore[arg-type]
        yield command


def text_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("status", "1 node online"),
        ("inspect ping", "pong"),
        ("report", "portico.prune_runs"),
        ("purge -f -Q of-nobody", "No messages purged"),
        ("call portico.prune_runs", "-"),
    ],
)
def test_a_command_finds_the_running_stack(beside: Path, command: str, answer: str) -> None:
    done = celery(*command.split(), directory=beside)

    assert done.returncode == 0, done.stderr
    assert answer in done.stdout
    assert "Traceback" not in done.stderr


def test_a_worker_logs_to_the_file_and_at_the_level_of_its_options(
    beside: Path, tmp_path: Path
) -> None:
    log = tmp_path / "debug.log"
    worker = ("worker", "-c", "1", "-Q", "of-nobody", "-n", "debug@%h")

    with started(*worker, "-l", "debug", "--logfile", str(log), directory=beside) as command:
        command.wait_until(lambda: "ready." in text_of(log))
        assert command.stop(signal.SIGTERM) == 0

    assert "[debug " in log.read_text()
    assert "ready." not in command.said()


def test_without_a_level_the_settings_say_what_is_logged(beside: Path) -> None:
    worker = ("worker", "-c", "1", "-Q", "of-nobody", "-n", "plain@%h")

    with started(*worker, directory=beside) as command:
        command.wait_until(lambda: "ready." in command.said())
        assert command.stop(signal.SIGTERM) == 0

    assert "[info " in command.said()


@pytest.mark.parametrize(
    ("command", "ready"),
    [
        ("worker -D -c 1 -Q of-nobody -n detached@%h", "ready."),
        ("beat --detach", "this beat is ready"),
    ],
)
def test_a_detached_command_logs_to_its_file(
    beside: Path, tmp_path: Path, command: str, ready: str
) -> None:
    log, pid = tmp_path / "log", tmp_path / "pid"
    options = ("-l", "info", "--logfile", str(log), "--pidfile", str(pid))

    assert celery(*command.split(), *options, directory=beside).returncode == 0

    family: list[psutil.Process] = []
    try:
        wait_until(lambda: ready in text_of(log))
        family = family_of(int(pid.read_text()))
        family[0].terminate()
        assert not survivors(family, within=30)
    finally:
        with suppress(FileNotFoundError, psutil.NoSuchProcess, ValueError):
            kill_all(family or family_of(int(pid.read_text())))
    assert "Traceback" not in log.read_text()


def test_the_seed_s_own_command_for_a_beat_works(beside: Path) -> None:
    """It stands by, for the stack has one."""
    beat = ("beat", "-S", "entrypoints.celery.scheduler:DatabaseScheduler", "-l", "info")

    with started(*beat, directory=beside) as command:
        command.wait_until(lambda: "this beat is ready" in command.said())
        assert command.stop(signal.SIGTERM) == 0

    assert "Traceback" not in command.said()


def test_a_beat_inside_a_worker_is_refused_in_one_sentence(beside: Path) -> None:
    refused = celery("worker", "-B", directory=beside)

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "Error: -B: a beat is a process of its own; start `portico beat`"
    )


@pytest.mark.parametrize(
    ("command", "variables", "reason"),
    [
        ("inspect ping", {"ENVIRONMENT": "LOCAL"}, "PORTICO_REDIS_URL must be set"),
        ("worker", {}, "ENVIRONMENT is not set, so this is PRODUCTION"),
        ("beat", {"ENVIRONMENT": "LOCAL", "PORTICO_STORES": "memory"}, "memory has no broker"),
    ],
)
def test_without_servers_a_command_says_what_is_missing(
    tmp_path: Path, command: str, variables: dict[str, str], reason: str
) -> None:
    refused = celery(*command.split(), directory=tmp_path, **variables)

    assert refused.returncode == 1
    assert "Error: " in refused.stderr
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr


# --- how it ends ----------------------------------------------------------------------------------


def test_data_outlives_kill_9_and_processes_do_not(tmp_path: Path) -> None:
    """The second start finds the administrator of the first, whose password is shown once only."""
    with running(tmp_path, PORTICO_ADMIN_USERNAME="grace") as first:
        family = first.family()
        os.kill(first.process.pid, signal.SIGKILL)
        assert not survivors(family, within=30)
        password = first.block["Password"].split()[0]

    with running(tmp_path, PORTICO_ADMIN_USERNAME="grace") as second:
        assert "it was shown when the user was created" in second.block["Password"]
        assert log_in(second.block["API"], "grace", password) == 200
        assert second.stop(signal.SIGTERM) == 0


def test_a_signal_during_the_start_leaves_nothing(tmp_path: Path) -> None:
    with starting("run", directory=tmp_path) as started:
        started.wait_until((tmp_path / "data" / "logs" / "postgres.log").exists)
        assert started.stop(signal.SIGINT) == 0


def test_a_process_that_ends_brings_everything_down(
    servers: Servers, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """What is configured is not started, and not stopped either."""
    configured = addresses(servers, PORTICO_POSTGRES_URL=postgres_url, PORTICO_REDIS_URL=redis_url)
    with running(tmp_path, PORTICO_ADMIN_PASSWORD="correct horse battery", **configured) as stack:
        family = stack.family()
        next(process for process in family if process.cmdline()[-1] == "api").kill()

        assert stack.process.wait(timeout=30) == 1
        assert not survivors(family, within=0)
        assert "api ended with exit code -9" in stack.said()
        assert stack.block["Password"] == "(as in PORTICO_ADMIN_PASSWORD)"
        assert not (tmp_path / "data" / "logs").exists()


def test_a_server_that_dies_brings_everything_down(
    servers: Servers, postgres_url: str, tmp_path: Path
) -> None:
    configured = addresses(servers, PORTICO_POSTGRES_URL=postgres_url)
    del configured["PORTICO_REDIS_URL"]
    with running(tmp_path, **configured) as stack:
        family = stack.family()
        next(process for process in family if process.name() == "valkey-server").kill()

        assert stack.process.wait(timeout=30) == 1
        assert not survivors(family, within=0)
        assert "redis ended with exit code -9" in stack.said()
        assert "Ready to accept connections" in stack.said()


# --- without servers ------------------------------------------------------------------------------


def test_memory_needs_no_server_and_has_an_administrator(tmp_path: Path) -> None:
    """And no ENVIRONMENT: `portico run` is for a machine of one's own."""
    with running(tmp_path, ENVIRONMENT="", PORTICO_STORES="memory") as stack:
        password = stack.block["Password"].split()[0]

        assert log_in(stack.block["API"], stack.block["Username"], password) == 200
        assert len(stack.family()) == 2, "one serves, the other one looks at the code"
        assert stack.stop(signal.SIGINT) == 0


def log_in(api: str, username: str, password: str) -> int:
    form = {"username": username, "password": password}
    return httpx.post(f"{api}/api/v1/auth/login/swagger", data=form, timeout=30).status_code
