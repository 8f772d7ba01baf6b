"""Child processes that end when this process ends, also when it crashes."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from local_stack import launcher

_LAUNCHER = Path(launcher.__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAs:
    """Another user to run as, and the paths that it must be able to reach."""

    uid: int
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Child:
    """One running child, in a process group of its own."""

    name: str
    process: asyncio.subprocess.Process
    stop_signal: signal.Signals = signal.SIGTERM

    async def exited(self) -> int:
        """Wait until it ends; return its exit code, or the negative number of the signal that ended it."""
        return await self.process.wait()

    async def stop(self, *, within: float) -> None:
        """Ask it to stop. Kill its process group when it has ended, after `within` seconds, or when cancelled."""
        with suppress(ProcessLookupError):
            self.process.send_signal(self.stop_signal)
        try:
            async with asyncio.timeout(within):
                await self.process.wait()
        except TimeoutError:
            pass
        finally:
            self.kill()
        await self.process.wait()

    def kill(self) -> None:
        """End it and its group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How to start a child."""

    name: str
    command: Sequence[str | Path]
    directory: Path | None = None
    environment: Mapping[str, str] | None = None
    """The complete environment; None: that of this process."""
    run_as: RunAs | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    """Sent to the child by the kernel when this process ends without stopping it."""
    inherited: tuple[int, ...] = field(default=())
    """File descriptors that it keeps open."""


async def spawn(spec: Spec, *, stdin: int | None = None, output: int | None = None) -> Child:
    """Start a child; its stdout and stderr both go to `output`.

    Call it in a thread that lives as long as the child should: on Linux the end of that thread counts
    as the end of the parent (prctl(2), PR_SET_PDEATHSIG).
    """
    arguments = ["--parent", str(os.getpid()), "--orphan-signal", str(int(spec.orphan_signal))]
    if spec.run_as is not None:
        arguments += ["--user", str(spec.run_as.uid)]
        for path in spec.run_as.paths:
            arguments += ["--path", str(path)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        _LAUNCHER,
        *arguments,
        "--",
        *spec.command,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT if output is not None else None,
        cwd=spec.directory,
        env=spec.environment,
        start_new_session=True,
        pass_fds=spec.inherited,
    )
    return Child(spec.name, process, spec.stop_signal)
