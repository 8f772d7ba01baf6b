"""How the S3 store is set up, as far as Portico depends on it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request

from adapters.reasons import network_reason
from adapters.s3.health import address_of, opener_for
from application.ports.health import Inspection, Remark, clock_remark
from application.ports.system import Clock
from application.settings import S3Settings
from domain.errors import Unavailable

_HALF_A_SECOND = timedelta(seconds=0.5)


class S3Inspection(Inspection):
    """Asks for the time, which stands in every answer."""

    name = "s3"

    def __init__(self, settings: S3Settings, clock: Clock, leeway: timedelta) -> None:
        self._settings = settings
        self._clock = clock
        self._leeway = leeway

    async def remarks(self) -> Sequence[Remark]:
        before = self._clock.now()
        date = await asyncio.to_thread(self._date)
        now = before + (self._clock.now() - before) / 2
        try:
            # It has no fractions of seconds.
            there = parsedate_to_datetime(date or "").astimezone(UTC) + _HALF_A_SECOND
        except ValueError:
            return (Remark("clock", "may differ from that of this host: it does not say"),)
        return (
            clock_remark((there - now).total_seconds(), tolerated=self._leeway.total_seconds()),
        )

    def _date(self) -> str | None:
        settings = self._settings
        request = Request(address_of(settings).geturl(), method="HEAD")  # noqa: S310 - ours
        try:
            with opener_for(settings).open(
                request, timeout=settings.timeout.total_seconds()
            ) as answer:
                date: str | None = answer.headers["Date"]
        except HTTPError as refusal:  # without a signature, which the question does not need
            with refusal:
                date = refusal.headers["Date"]
        except (OSError, HTTPException) as error:
            raise Unavailable("S3", reason=network_reason(error) or type(error).__name__) from error
        return date
