"""The collector of traces: where it is, what it is told of us, and whether it takes spans."""

import asyncio
from collections.abc import Mapping
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

from adapters.reasons import network_reason
from application.ports.health import Probe
from application.settings import TracesSettings
from domain.errors import Unavailable

_TIMEOUT = 3.0


def collector_url(settings: TracesSettings) -> str:
    """Return where spans are sent."""
    return f"{(settings.url or '').rstrip('/')}/v1/traces"


def collector_headers(settings: TracesSettings) -> Mapping[str, str]:
    """Return the headers that go with spans, from `name=value,name=value`."""
    pairs = (each.partition("=") for each in (settings.headers or "").split(",") if each)
    return {name.strip(): unquote(value).strip() for name, _, value in pairs}


class CollectorProbe(Probe):
    """Sends a request without spans, through the proxies of the environment as the exporter does."""

    name = "traces"
    required = False

    def __init__(self, settings: TracesSettings) -> None:
        self._settings = settings

    async def check(self) -> None:
        await asyncio.to_thread(self._ask)

    def _ask(self) -> None:
        headers = {
            **collector_headers(self._settings),
            "content-type": "application/x-protobuf",
        }
        request = Request(collector_url(self._settings), data=b"", headers=headers)  # noqa: S310 - the setting is HTTP
        try:
            urlopen(request, timeout=_TIMEOUT).close()  # noqa: S310 - as above
        except HTTPError as refusal:
            refusal.close()
            is_of_credentials = refusal.code in {401, 403}
            why = "; are PORTICO_TRACES_HEADERS the right ones?" if is_of_credentials else ""
            raise Unavailable("traces", reason=f"it answers {refusal.code}{why}") from refusal
        except (OSError, HTTPException) as error:
            reason = network_reason(error) or type(error).__name__
            raise Unavailable("traces", reason=reason) from error
