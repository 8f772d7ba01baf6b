"""`portico run`: from nothing to a person who logs in, and back to nothing."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.command import Started, addresses, portico, running, starting
from tests.support.processes import survivors
from tests.support.servers import Servers

pytestmark = pytest.mark.server


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
