"""Supervises one process: starts it, restarts it when the code changes, and stops it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Optional

from entrypoints.cli import console
from entrypoints.cli.code import Code
from entrypoints.cli.errors import NotReady, ProcessEnded
from local_stack.children import Child, Spec, spawn

_ASK_AGAIN_AFTER = 0.1


class SupervisedProcess:
    """A command that runs until it is stopped.

    `output` is the file descriptor for its output; None: that of this process. `start_finished` is set while the
    process is ready, and while it waits for a change after a failed start; then `start_failed` is set too.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        is_ready: Callable[[Child], Awaitable[bool]],
        ready_within: float,
        stop_within: float,
        output: int | None,
    ) -> None:
        self.start_finished = asyncio.Event()
        self.start_failed = asyncio.Event()
        self._spec = spec
        self._is_ready = is_ready
        self._ready_within = ready_within
        self._stop_within = stop_within
        self._output = output

    async def keep_running(
        self, code: Code, *, after: Optional["SupervisedProcess"] = None
    ) -> None:
        """Run it, each time after the start of `after` has finished; stop it when cancelled.

        Raise `ProcessEnded` or `NotReady`. A process that cannot start after a change of the code does not fail: the
        next change may repair it.
        """
        is_new = True
        while True:
            if after is not None:
                await after.start_finished.wait()
            change = code.change
            console.say(f"  starting {self._spec.name}")
            child = await spawn(self._spec, output=self._output)
            try:
                await self._run(child, change, is_new=is_new)
            finally:
                self.start_finished.clear()
                self.start_failed.clear()
                await child.stop(within=self._stop_within)
            is_new = False

    async def _run(self, child: Child, change: "asyncio.Future[str]", *, is_new: bool) -> None:
        """Return when the code has changed."""
        ended = asyncio.create_task(child.exited())
        try:
            await self._wait_until_ready(child, ended, change)
            if ended.done() and not is_new:
                console.fail(
                    f"{child.name} could not start; it will start again after the next change"
                )
                self.start_finished.set()
                self.start_failed.set()
                await asyncio.shield(change)
            elif not ended.done() and not change.done():
                console.say(f"  {child.name} is ready")
                self.start_finished.set()
                await _first_of(ended, change)
            if not change.done():
                raise ProcessEnded(child.name, ended.result())
            console.say(f"{change.result()} has changed")
        finally:
            ended.cancel()

    async def _wait_until_ready(
        self, child: Child, ended: "asyncio.Task[int]", change: "asyncio.Future[str]"
    ) -> None:
        """Return once it is ready, or has ended, or the code has changed."""
        try:
            async with asyncio.timeout(self._ready_within):
                while not (ended.done() or change.done() or await self._is_ready(child)):
                    await _first_of(ended, change, within=_ASK_AGAIN_AFTER)
        except TimeoutError:
            raise NotReady(child.name, self._ready_within) from None


async def _first_of(*futures: "asyncio.Future[Any]", within: float | None = None) -> None:
    await asyncio.wait(futures, timeout=within, return_when=asyncio.FIRST_COMPLETED)
