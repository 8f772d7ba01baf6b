"""Celery's own commands, as people type them beside a `make run`: without a setting, in the directory of the code."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.command import Started, environment, running, starting
from tests.support.processes import family_of, kill_all, survivors
from tests.support.waiting import wait_until

CELERY = str(Path(sys.executable).with_name("celery"))
APP = ("-A", "entrypoints.celery.app")
HERE = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the directory of a running stack, which has servers of its own."""
    directory = tmp_path_factory.mktemp("beside")
    with running(directory) as stack:
        # The API is ready first; its worker follows.
        stack.wait_until(lambda: "ready. " in stack.said())
        yield directory


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
