"""The connection to S3. Only this module knows how it is reached."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from application.settings import S3Settings

if TYPE_CHECKING:
    from aioboto3 import Session
    from aiobotocore.config import AioConfig
    from types_aiobotocore_s3.client import S3Client as BotoClient


class S3Client:
    """The one client of the process, made at the first use and shared from then on."""

    def __init__(self, settings: S3Settings) -> None:
        self.bucket = settings.bucket
        self._settings = settings
        self.span_of: Callable[[str], AbstractContextManager[object]] | None = None
        """Returns what is around each call to the store, such as a span, by the name of the method."""
        self._opened = AsyncExitStack()
        self._opening: dict[str | None, asyncio.Task[BotoClient]] = {}
        self._preparing: asyncio.Task[tuple[Session, AioConfig]] | None = None

    async def get(self) -> "BotoClient":
        """Return the client. Of many first callers one makes it, and finishes even if it is cancelled."""
        client = await self._get(self._settings.url)
        return (
            client if self.span_of is None else cast("BotoClient", _Spanned(client, self.span_of))
        )

    async def signer(self) -> "BotoClient":
        """Return the client that signs for browsers: they may know the store under another address."""
        return await self._get(self._settings.public_url or self._settings.url)

    async def aclose(self) -> None:
        """Close what was opened."""
        if self._opening:
            await asyncio.wait(self._opening.values())
        await self._opened.aclose()

    async def _get(self, url: str | None) -> "BotoClient":
        opening = self._opening.get(url)
        if opening is None or _has_failed(opening):
            opening = self._opening[url] = asyncio.create_task(self._open(url))
        return await asyncio.shield(opening)

    async def _open(self, url: str | None) -> "BotoClient":
        # One session: each reads the description of all services for itself, which takes 13 MB.
        if self._preparing is None or _has_failed(self._preparing):
            self._preparing = asyncio.create_task(asyncio.to_thread(_prepare, self._settings))
        session, config = await self._preparing
        return await self._opened.enter_async_context(
            session.client("s3", endpoint_url=url, config=config)
        )


def _has_failed(task: "asyncio.Task[Any]") -> bool:
    """Tell whether a task is to be begun again: it may have found no file or memory left."""
    return task.done() and (task.cancelled() or task.exception() is not None)


class _Spanned:
    """Calls methods of a client within spans. The driver's own hooks do not hear of calls that are given up."""

    def __init__(
        self, client: "BotoClient", span_of: Callable[[str], AbstractContextManager[object]]
    ) -> None:
        self._client = client
        self._span_of = span_of

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the driver
        method = getattr(self._client, name)

        async def call(**parameters: object) -> object:
            with self._span_of(name):
                return await method(**parameters)

        return call


def _prepare(settings: S3Settings) -> "tuple[Session, AioConfig]":
    # Half a second of imports, which neither a start without files nor the event loop should pay for.
    from aioboto3 import Session  # noqa: PLC0415
    from aiobotocore.config import AioConfig  # noqa: PLC0415

    session = Session(
        # Without keys of ours the usual chain applies: variables, profile, role of the machine.
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=settings.secret_key or None,
        region_name=settings.region,
    )
    return session, AioConfig(
        connect_timeout=settings.timeout.total_seconds(),
        read_timeout=settings.timeout.total_seconds(),
        retries={"mode": "standard", "total_max_attempts": 2},
        signature_version="s3v4",
        # A proxy cannot reach this machine; None: as the environment says.
        proxies={} if is_this_machine(settings.url) else None,
        s3={"addressing_style": "path"},  # what every compatible store understands
        request_checksum_calculation="when_required",  # many of them do not know the newer checksums
        response_checksum_validation="when_required",
    )


def is_this_machine(url: str | None) -> bool:
    """Return whether an address is of this machine, which no proxy can reach."""
    host = urlsplit(url or "").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
