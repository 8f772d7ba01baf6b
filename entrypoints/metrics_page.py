"""What a scrape gets, and who may have it: the same for the API, workers and beats."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address

from application.ports.metrics import Metrics, Reading
from application.settings import MetricsSettings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# A client that sends one of these speaks for others: a proxy on this host would make all the world local.
_FROM_A_PROXY = frozenset({b"x-forwarded-for", b"forwarded", b"via"})


class MetricsPage:
    """The text of a scrape. It is made in a thread, once at a time, and at most `fresh_for` seconds old."""

    def __init__(
        self,
        metrics: Metrics,
        read: Callable[[], Awaitable[Sequence[Reading]]],
        *,
        fresh_for: float = 5.0,
    ) -> None:
        self._metrics = metrics
        self._read = read
        self._fresh_for = fresh_for
        self._made_at = -fresh_for
        self._text = b""
        self._lock = asyncio.Lock()

    async def __call__(self) -> bytes:
        """Return the text."""
        async with self._lock:
            if time.monotonic() - self._made_at >= self._fresh_for:
                self._text = await asyncio.to_thread(self._metrics.text, await self._read())
                self._made_at = time.monotonic()
            return self._text


def may_scrape(settings: MetricsSettings, address: str, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a client may see the metrics: by the token, or by its address if it comes directly.

    `headers` has the first value of each header, by its name in lower case; `address` is the client's own, or what a
    trusted proxy says.
    """
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if settings.token is not None and scheme.lower() == b"bearer":
        return hmac.compare_digest(token.strip(), settings.token.encode())
    if not _FROM_A_PROXY.isdisjoint(headers):
        return False
    return any(ip_address(address) in network for network in settings.allow)
