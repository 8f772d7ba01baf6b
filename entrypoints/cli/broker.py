"""The broker as a command asks for it: with Celery's connection, which workers and beats will have."""

import asyncio
import sys

from application.ports.health import Probe
from application.settings import Settings
from domain.errors import Unavailable

# By name: entrypoints do not know each other.
_ASK = (sys.executable, "-m", "entrypoints.celery.broker")


class BrokerProbe(Probe):
    """Asks the broker that the environment names, in a process of its own, which says itself what is wrong."""

    name = "broker"

    async def check(self) -> None:
        asked = await asyncio.create_subprocess_exec(*_ASK, stdout=asyncio.subprocess.DEVNULL)
        try:
            exit_code = await asked.wait()
        except asyncio.CancelledError:
            asked.kill()
            await asked.wait()
            raise
        if exit_code:
            raise Unavailable(self.name)


def broker_probes(settings: Settings) -> list[Probe]:
    """Return what to ask: nothing if Redis is the broker, which is asked anyway."""
    return [BrokerProbe()] if settings.jobs.broker_url is not None else []
