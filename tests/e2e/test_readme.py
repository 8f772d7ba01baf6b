"""The README keeps its word: every block in it is executed, in a copy of the tree where nothing is installed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_stack.servers import choose_ports
from tests.support.processes import family_of, kill_all, survivors
from tests.support.readme import apply, blocks, place_of

pytestmark = [pytest.mark.server, pytest.mark.timeout(500)]

ROOT = Path(__file__).parents[2]

# That of the reader's terminals: nothing of ours but a port that is free, and nothing of the tests that run here.
_OURS = ("PORTICO_", "ENVIRONMENT", "MAKE", "MFLAGS", "COV", "PYTEST", "VIRTUAL_ENV")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}  # noqa: TID251
ENVIRONMENT["PORTICO_HTTP_PORT"] = str(choose_ports(("http",), {})["http"])


def test_every_block_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    """The reader has two terminals, types what is printed, and nothing else."""
    make_run, make_test, in_memory, set_password, log_in, migrate, say_motto, schedule = blocks(
        "sh"
    )
    (dotenv,) = blocks("dotenv")
    tree = tmp_path / "portico"
    copy_to(tree)

    with second_terminal(tree) as terminal:
        with running(make_run, tree) as first:
            assert "admin has the new password" in terminal.type(set_password)
            assert "sessions.invalid_credentials" in terminal.type(f"password=wrong\n{log_in}")
            user = json.loads(terminal.type(f"{set_password}\n{log_in}").splitlines()[-1])
            assert user["data"]["username"] == "admin"

            first.wait_until_ready()
            for block in blocks("python"):
                (tree / place_of(block)).write_text(block)
            for block in blocks("diff"):
                apply(block, tree)
            (tree / ".env").write_text(dotenv)
            assert " passed" in terminal.type(migrate)
            first.wait_until_ready(again=True)
            assert json.loads(terminal.type(say_motto))["data"] == {"text": "Measure twice"}
            runs = json.loads(terminal.type(schedule))["data"]["records"]
            assert "succeeded" in {run["state"] for run in runs}

        with running(in_memory, tree):
            user = json.loads(terminal.type(log_in).splitlines()[-1])
            assert user["data"]["username"] == "admin"

        new_files = [place_of(block) for block in blocks("python")]
        (migration,) = (tree / "migrations" / "versions").glob("*_mottos.py")
        assert " 6 passed" in terminal.type(f"{make_test.strip()} T=tests/contract/test_mottos.py")
        assert "0 broken" in terminal.type("lint-imports")
        assert "All checks passed" in terminal.type("ruff check .")
        assert "already formatted" in terminal.type("ruff format --check .")

    assert "Success" in types_of(tree, ["bootstrap.py", str(migration), *new_files])


def types_of(tree: Path, files: Sequence[str]) -> str:
    """Return what mypy says; it remembers the files that are the same as here."""
    remembered = ROOT / ".mypy_cache"
    if remembered.exists():
        shutil.copytree(remembered, tree / remembered.name)
    command = [sys.executable, "-m", "mypy", *files]
    return subprocess.run(command, cwd=tree, capture_output=True, check=False, text=True).stdout  # noqa: S603


def copy_to(directory: Path) -> None:
    """Copy what git knows and what it would add, as it is in the work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
            target.chmod((ROOT / name).stat().st_mode)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A shell that remembers what was typed before."""

    shell: "subprocess.Popen[str]"

    def type(self, block: str) -> str:
        """Return what the block writes."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"{block}\nprintf '\\n%s\\n' {_PROMPT}\n")
        self.shell.stdin.flush()
        written = "".join(iter(self.shell.stdout.readline, f"{_PROMPT}\n"))
        return written.strip()


_PROMPT = "--what-is-next?--"


@contextmanager
def second_terminal(directory: Path) -> Iterator[Terminal]:
    """Open a shell in the directory."""
    with subprocess.Popen(
        ["bash"],  # noqa: S607
        cwd=directory,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as shell:
        yield Terminal(shell)
        assert shell.stdin is not None
        shell.stdin.close()


@dataclass(frozen=True, slots=True)
class Running:
    """What runs in the first terminal."""

    make: "subprocess.Popen[str]"
    stderr: Path

    def wait_until_ready(self, *, again: bool = False) -> None:
        """Return once API, worker and beat are ready; `again`: since a file has changed."""
        while not all(f"{name} is ready" in self._said(again=again) for name in _PROCESSES):
            assert self.make.poll() is None, self.stderr.read_text()
            time.sleep(0.1)

    def _said(self, *, again: bool) -> str:
        _, changed, since = self.stderr.read_text().rpartition(" has changed")
        return since if bool(changed) is again else ""


_PROCESSES = ("api", "worker", "beat")


@contextmanager
def running(block: str, directory: Path) -> Iterator[Running]:
    """Run the block that starts Portico until it is ready, and interrupt it afterwards as Ctrl-C does."""
    stderr = directory.with_name("stderr")
    with (
        stderr.open("w") as output,
        subprocess.Popen(  # noqa: S603 - a block of our README
            ["bash", "-c", block],  # noqa: S607
            cwd=directory,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        ) as make,
    ):
        assert make.stdout is not None
        ready = any(line.strip().startswith("Stop") for line in make.stdout)
        family = family_of(make.pid) if make.poll() is None else []
        try:
            assert ready, stderr.read_text()
            yield Running(make, stderr)
            os.killpg(make.pid, signal.SIGINT)
            assert not survivors(family, within=30)
        finally:
            kill_all(family)
