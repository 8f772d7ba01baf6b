"""Broker and results as a command asks for them: with Celery's connections, which workers and beats will have."""

import asyncio
import sys

from application.ports.health import Probe
from application.settings import Settings
from domain.errors import Unavailable

# By name: entrypoints do not know each other.
_ASK = (sys.executable, "-m", "entrypoints.celery.broker")


class CeleryProbe(Probe):
    """Asks what the environment names, in a process of its own, whose last line says what is wrong."""

    required = True

    def __init__(self, name: str) -> None:
        self.name = name

    async def check(self) -> None:
        asked = await asyncio.create_subprocess_exec(
            *_ASK,
            self.name,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asked.communicate()
        except asyncio.CancelledError:
            asked.kill()
            await asked.wait()
            raise
        if asked.returncode:
            raise Unavailable(self.name, reason=said.decode().strip().rpartition("\n")[2] or None)


def broker_probes(settings: Settings) -> list[Probe]:
    """Return what to ask besides Redis: each of broker and results that has an address of its own."""
    addresses = {"broker": settings.jobs.broker_url, "result": settings.jobs.result_url}
    return [CeleryProbe(name) for name, url in addresses.items() if url is not None]
