"""Whether the process can do its work."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.ports.health import Probe
from application.ports.system import Clock
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
                answers = await asyncio.gather(*(self._ask(probe) for probe in self.probes))
                names = [probe.name for probe in self.probes]
                reasons = {n: why for n, why in zip(names, answers, strict=True) if why is not None}
                required = {probe.name for probe in self.probes if probe.required}
                self._answer = Readiness(
                    up=tuple(name for name in names if name not in reasons),
                    down=tuple(name for name in reasons if name in required),
                    degraded=tuple(name for name in reasons if name not in required),
                    reasons=reasons,
                )
                self._answered_at = self.clock.now()
            return self._answer

    async def _ask(self, probe: Probe) -> str | None:
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
