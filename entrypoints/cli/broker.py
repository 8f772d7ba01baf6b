"""Checks broker and result store with Celery's own connections, as workers and beats will use them."""

import asyncio
import sys

from application.ports.health import Probe
from application.settings import Settings
from domain.errors import Unavailable

# By name: entrypoints do not know each other.
_ASK = (sys.executable, "-m", "entrypoints.celery.broker")


class CeleryProbe(Probe):
    """Checks an address in a child process; its last line is the reason of a failure."""

    required = True

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = url

    async def check(self) -> None:
        asked = await asyncio.create_subprocess_exec(
            *_ASK,
            self.name,
            stdin=asyncio.subprocess.PIPE,  # an argument could be seen by every user of this host
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asked.communicate(self._url.encode())
        except asyncio.CancelledError:
            asked.kill()
            await asked.wait()
            raise
        if asked.returncode:
            raise Unavailable(self.name, reason=said.decode().strip().rpartition("\n")[2] or None)


def broker_probes(settings: Settings) -> list[Probe]:
    """Return probes of the broker and the result store, where they have addresses other than that of Redis."""
    addresses = {"broker": settings.jobs.broker_url, "result": settings.jobs.result_url}
    return [CeleryProbe(name, url) for name, url in addresses.items() if url is not None]
