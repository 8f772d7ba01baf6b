"""Whether RabbitMQ answers, for processes that load nothing of Celery."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from adapters.reasons import network_reason
from application.ports.health import Probe
from domain.errors import Unavailable


class RabbitMQProbe(Probe):
    """Connects and says nothing: RabbitMQ logs no error then, as it would of a handshake that is broken off.

    So it finds a broker that is away, but none that hangs, or that refuses the user.
    """

    name = "broker"
    required = False

    def __init__(self, url: str) -> None:
        self._url = url

    async def check(self) -> None:
        address = urlsplit(self._url)
        port = address.port or (5671 if address.scheme == "amqps" else 5672)
        try:
            _, writer = await asyncio.open_connection(address.hostname, port)
        except OSError as error:
            reason = network_reason(error) or type(error).__name__
            raise Unavailable("RabbitMQ", reason=reason) from error
        writer.close()
        with suppress(OSError):  # it did answer
            await writer.wait_closed()
