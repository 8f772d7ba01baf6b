"""Whether the process can do its work."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.ports.health import Probe
from application.ports.system import Clock


@dataclass(frozen=True, slots=True)
class Readiness:
    """Which dependencies answer. No addresses, no errors: everybody may see it."""

    up: tuple[str, ...]
    down: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether all of them answer."""
        return not self.down


@dataclass(slots=True)
class CheckReadiness:
    """Ask every dependency at once. One per process: it remembers the answer for `cached_for`."""

    probes: Sequence[Probe]
    clock: Clock
    cached_for: timedelta = timedelta(seconds=1)
    timeout: timedelta = timedelta(seconds=1.5)
    _answer: Readiness | None = field(default=None, init=False)
    _answered_at: datetime | None = field(default=None, init=False)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def __call__(self) -> Readiness:
        async with self._asking:
            now = self.clock.now()
            if (
                self._answer is None
                or self._answered_at is None
                or now - self._answered_at >= self.cached_for
            ):
                answers = await asyncio.gather(*(self._is_up(probe) for probe in self.probes))
                names = [(probe.name, up) for probe, up in zip(self.probes, answers, strict=True)]
                self._answer = Readiness(
                    up=tuple(name for name, up in names if up),
                    down=tuple(name for name, up in names if not up),
                )
                self._answered_at = self.clock.now()
            return self._answer

    async def _is_up(self, probe: Probe) -> bool:
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                await probe.check()
        except Exception:  # noqa: BLE001 - whatever it is, the dependency does not answer
            return False
        return True
