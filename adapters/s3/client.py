"""The connection to S3. Only this module knows how it is reached."""

import asyncio
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from application.settings import S3Settings

if TYPE_CHECKING:
    from aioboto3 import Session
    from aiobotocore.config import AioConfig
    from types_aiobotocore_s3.client import S3Client as BotoClient


class S3Client:
    """The one client of the process, made when it is first asked for and shared from then on."""

    def __init__(self, settings: S3Settings) -> None:
        self.bucket = settings.bucket
        self._settings = settings
        self._opened = AsyncExitStack()
        self._opening: asyncio.Task[BotoClient] | None = None

    async def get(self) -> "BotoClient":
        """Return the client. Of many first callers one makes it, and finishes even if it is cancelled."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def aclose(self) -> None:
        """Close the client if there is one."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
        await self._opened.aclose()

    async def _open(self) -> "BotoClient":
        session, config = await asyncio.to_thread(_prepare, self._settings)
        return await self._opened.enter_async_context(
            session.client("s3", endpoint_url=self._settings.url, config=config)
        )


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
