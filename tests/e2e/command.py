"""The `portico` command as its users have it: a process with an environment and a working directory of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
import pytest

from tests.support.processes import family_of, kill_all, survivors
from tests.support.servers import Servers

_OURS = {"ENVIRONMENT", "DATABASE_URL", "REDIS_URL"}
PORTICO = Path(sys.executable).with_name("portico")


def environment(directory: Path, **variables: str) -> dict[str, str]:
    """Return an environment without settings of ours but these; data and working directory are in `directory`."""
    inherited = os.environ  # noqa: TID251 - handed on, less what the test decides
    return {
        **{k: v for k, v in inherited.items() if k not in _OURS and "PORTICO" not in k},
        "ENVIRONMENT": "LOCAL",
        "PORTICO_DATA_DIR": str(directory / "data"),
        "PORTICO_HTTP_PORT": "0",
        **variables,
    }


def addresses(servers: Servers, **others: str) -> dict[str, str]:
    """Return the variables that lead to the servers of the test run."""
    return {
        "PORTICO_POSTGRES_URL": servers.postgres_url,
        "PORTICO_REDIS_URL": servers.redis_url,
        "PORTICO_MONGO_URL": servers.mongo_url,
        "PORTICO_S3_URL": servers.s3_url,
        "PORTICO_S3_BUCKET": servers.s3_bucket,
        "PORTICO_S3_ACCESS_KEY": servers.s3_access_key,
        "PORTICO_S3_SECRET_KEY": servers.s3_secret_key,
        **others,
    }


def portico(
    *arguments: str, directory: Path, program: str = str(PORTICO), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(  # noqa: S603 - ours
        [program, *arguments],
        check=False,
        cwd=directory,
        env=environment(directory, **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


@dataclass(frozen=True, slots=True)
class Started:
    """A command that runs until it is stopped."""

    process: "subprocess.Popen[str]"
    directory: Path
    stderr: Path
    block: Mapping[str, str] = field(default_factory=dict)
    """The labels and values of what it said once it was ready."""

    def family(self) -> list[psutil.Process]:
        """Return all of its processes."""
        return family_of(self.process.pid)

    def said(self) -> str:
        """Return what it wrote to standard error so far."""
        return self.stderr.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds; fail if the command ends first."""
        while not condition():
            assert self.process.poll() is None, self.said()
            time.sleep(0.01)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit code once all of its processes have ended."""
        family = self.family()
        self.process.send_signal(number)
        assert not survivors(family, within=30)
        return self.process.wait()


@contextmanager
def starting(
    *arguments: str, directory: Path, program: str = str(PORTICO), **variables: str
) -> Iterator[Started]:
    """Start a command; end all of its processes afterwards, in any state."""
    # Others may run in the same directory.
    with NamedTemporaryFile("w", prefix="stderr-", dir=directory, delete=False) as output:
        stderr = Path(output.name)
        process = subprocess.Popen(  # noqa: S603 - ours
            [program, *arguments],
            cwd=directory,
            env=environment(directory, **variables),
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    with process:
        try:
            yield Started(process, directory, stderr)
        finally:
            family = family_of(process.pid) if process.poll() is None else []
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            kill_all(family)


@contextmanager
def running(directory: Path, *, program: str = str(PORTICO), **variables: str) -> Iterator[Started]:
    """Start everything with `portico run`, and wait for the block that says that all is there."""
    with starting("run", directory=directory, program=program, **variables) as started:
        block: dict[str, str] = {}
        assert started.process.stdout is not None
        for line in started.process.stdout:
            label, _, value = line.strip().partition("  ")
            if value:
                block[label] = value.strip()
            if label == "Stop":
                break
        else:
            pytest.fail(f"portico run has ended:\n{started.said()}")
        yield Started(started.process, directory, started.stderr, block)
