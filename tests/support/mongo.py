"""A MongoDB server of a test's own: to be killed, paused and started again."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from local_stack.servers import choose_ports


class Mongo:
    """A server with its data in `directory`; what it has acknowledged survives a kill.

    `options` are those of its command line.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = choose_ports(("mongo",), {})["mongo"]

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

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
        configuration = self._directory / "mongo.toml"
        configuration.write_text("")
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            [
                sys.executable,
                *("-I", "-m", "secantus", "--config", str(configuration)),
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--storage-path", str(self._directory / "data")),
                *("--cache-size", "64M", "--sync-on-commit"),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            if b"listening on" in line:
                return
            said.append(line.decode())
        raise AssertionError("".join(said))

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None and self._process.stderr is not None:
            self._process.wait()
            self._process.stderr.close()
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
