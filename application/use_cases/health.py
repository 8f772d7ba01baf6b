"""Whether the process can do its work."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.metrics import DEPENDENCY_UP, OUTBOX_OLDEST, OUTBOX_PENDING
from application.ports.health import Probe
from application.ports.metrics import Reading
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.errors import PorticoError, Unavailable


@dataclass(frozen=True, slots=True)
class Readiness:
    """Which dependencies answer; everybody may see it but for the reasons."""

    up: tuple[str, ...]
    down: tuple[str, ...]
    """Those that every request needs."""
    degraded: tuple[str, ...] = ()
    """Those that only a part of the service needs."""
    reasons: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    """Why each one does not answer, for operators: without secrets, but with names of hosts and users."""

    @property
    def is_ready(self) -> bool:
        """Whether all that every request needs answer."""
        return not self.down


@dataclass(slots=True)
class _Check:
    """The last answer of one dependency, and the question that is on its way."""

    probe: Probe
    reason: str | None = None
    """Why it cannot be used."""
    answered_at: datetime | None = None
    asking: asyncio.Task[None] | None = None

    @property
    def must_answer(self) -> bool:
        """Whether its last answer cannot stand in for the next one."""
        return self.probe.required or self.answered_at is None


@dataclass(slots=True)
class CheckReadiness:
    """Ask every dependency, side by side. One per process: it remembers each answer for `cached_for`.

    A dependency that not every request needs is waited for no longer than `grace` once it has answered; until it does,
    its last answer stands, and the question goes on in the background.
    """

    probes: Sequence[Probe]
    clock: Clock
    cached_for: timedelta = timedelta(seconds=1)
    timeout: timedelta = timedelta(seconds=1.5)
    grace: timedelta = timedelta(seconds=0.1)
    _checks: Sequence[_Check] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._checks = [_Check(probe) for probe in self.probes]

    async def __call__(self) -> Readiness:
        now = self.clock.now()
        for check in self._checks:
            is_old = check.answered_at is None or now - check.answered_at >= self.cached_for
            if check.asking is None and is_old:
                check.asking = asyncio.create_task(self._ask(check))
        # The caller may be cancelled; the tasks end all the same.
        if needed := [c.asking for c in self._checks if c.asking and c.must_answer]:
            await asyncio.wait(needed)
        if others := [c.asking for c in self._checks if c.asking]:
            await asyncio.wait(others, timeout=self.grace.total_seconds())
        down = [check for check in self._checks if check.reason is not None]
        return Readiness(
            up=tuple(check.probe.name for check in self._checks if check.reason is None),
            down=tuple(check.probe.name for check in down if check.probe.required),
            degraded=tuple(check.probe.name for check in down if not check.probe.required),
            reasons={check.probe.name: str(check.reason) for check in down},
        )

    async def _ask(self, check: _Check) -> None:
        try:
            check.reason = await self._reason(check.probe)
            check.answered_at = self.clock.now()
        finally:
            check.asking = None

    async def _reason(self, probe: Probe) -> str | None:
        """Return why the dependency cannot be used, or None if it can."""
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                await probe.check()
        except Unavailable as error:
            return error.reason or "no answer"
        except PorticoError as error:
            return error.detail
        except TimeoutError:
            return f"no answer within {self.timeout.total_seconds():g} s"
        except Exception as error:  # noqa: BLE001 - with any error, the dependency does not answer
            return type(error).__name__  # its text may hold anything
        return None


@dataclass(frozen=True, slots=True)
class ReadGauges:
    """Ask, for a scrape, which dependencies answer and what waits in the outbox."""

    readiness: CheckReadiness
    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(self) -> Sequence[Reading]:
        """Return what could be found out."""
        found = await self.readiness()
        readings = [Reading(DEPENDENCY_UP, 1, (name,)) for name in found.up]
        readings += [Reading(DEPENDENCY_UP, 0, (name,)) for name in (*found.down, *found.degraded)]
        if found.is_ready:
            with suppress(PorticoError):
                readings += await self._of_outbox()
        return readings

    async def _of_outbox(self) -> Sequence[Reading]:
        async with self.uow() as uow:
            backlog = await uow.outbox.backlog()
        waiting = self.clock.now() - backlog.oldest if backlog.oldest else timedelta(0)
        return [
            Reading(OUTBOX_PENDING, backlog.entries),
            Reading(OUTBOX_OLDEST, max(0.0, waiting.total_seconds())),
        ]
