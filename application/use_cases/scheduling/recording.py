"""Records the beginnings and ends of runs in a process of a worker, without delaying its tasks."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.ports.run_log import Begun, Finished, RunLog
from application.ports.system import Clock
from domain.errors import Unavailable
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import RunId

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RunRecorder:
    """Record the beginnings and ends of runs. One per process, on one event loop.

    A beginning is recorded before the task runs, because the run may have begun before. While the store is away tasks
    run all the same: the first one waits for a time-out, the others do not wait, and everything is recorded later.
    """

    log: RunLog
    clock: Clock
    gather: float = 0.05
    """Seconds between two statements, in which ends are collected."""
    pause: float = 5.0
    """Seconds until a store that did not answer is called again."""
    batch: int = 500
    last_call: float = 2.0
    """Seconds that a stopping process takes to record what is left."""
    _begun: deque[Begun] = field(default_factory=lambda: deque(maxlen=100_000), init=False)
    _finished: deque[Finished] = field(default_factory=lambda: deque(maxlen=100_000), init=False)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _away_until: float = field(default=0.0, init=False)
    _gathers_until: float = field(default=0.0, init=False)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["RunRecorder", None]:
        """Record ends while the block runs, and what is left when it ends."""
        rounds = asyncio.create_task(self._rounds(), name="run recorder")
        try:
            yield self
        finally:
            rounds.cancel()
            with suppress(asyncio.CancelledError):
                await rounds
            with suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(self.last_call):
                    await self._record_all()
            if self._finished or self._begun:
                _log.warning(
                    "%d beginnings and %d ends of runs are not recorded",
                    len(self._begun),
                    len(self._finished),
                )

    async def begin(
        self,
        run_id: RunId,
        task_id: PeriodicTaskId,
        scheduled_for: datetime,
        *,
        worker: str,
        longest: timedelta,
        again: bool,
    ) -> bool:
        """Record that a run begins; return False if it may not, because it has begun before (see `Run.may_begin`).

        After `longest` the run is no longer active, even if its end was never recorded.
        """
        now = self.clock.now()
        begun = Begun(
            run_id=run_id,
            task_id=task_id,
            scheduled_for=scheduled_for,
            at=now,
            worker=worker,
            deadline=now + longest,
            again=again,
        )
        if not self._is_away():
            try:
                return await self.log.begin(begun)
            except Unavailable:
                self._be_away()
        self._begun.append(begun)
        self._wanted.set()
        return True

    def finish(self, run_id: RunId, *, error: str | None = None) -> None:
        """Queue the record of an end, and of what the task raised."""
        self._finished.append(Finished(run_id=run_id, at=self.clock.now(), error=error))
        self._wanted.set()

    async def _rounds(self) -> None:
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self._patience())
            self._wanted.clear()
            try:
                await self._record_all()
                self._gathers_until = asyncio.get_running_loop().time() + self.gather
            except Unavailable:
                self._be_away()
            except Exception:  # noqa: BLE001 - a recorder that ends would record no later run
                _log.exception("ends of runs could not be recorded")
                self._be_away()
            if self._begun or self._finished:
                self._wanted.set()

    async def _record_all(self) -> None:
        while self._begun:
            begun = self._begun[0]
            if not await self.log.begin(begun):
                _log.warning(
                    "run %s was recorded as begun before: the answer was lost, or it began twice meanwhile",
                    begun.run_id,
                )
            self._begun.popleft()
        while self._finished:
            batch = [self._finished[n] for n in range(min(self.batch, len(self._finished)))]
            await self.log.finish(batch)
            for _ in batch:
                self._finished.popleft()

    def _is_away(self) -> bool:
        return asyncio.get_running_loop().time() < self._away_until

    def _be_away(self) -> None:
        self._away_until = asyncio.get_running_loop().time() + self.pause

    def _patience(self) -> float:
        until = max(self._gathers_until, self._away_until)
        return max(0.0, until - asyncio.get_running_loop().time())
