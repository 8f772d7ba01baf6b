"""Turns errors of the driver into `Unavailable`, unless they are answers that a caller expects."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from adapters.reasons import NO_ANSWER, network_reason
from domain.errors import Unavailable

_NOT_NOW = frozenset({401, 403, 404, 408, 409, 429})
"""Refusals that are none of our callers' business: keys, rights, bucket, clock, a write to the same key that is
not over (409 `ConditionalRequestConflict`), too many requests."""


class Refused(Exception):
    """The store has answered with an error; `code` is the one of S3."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def check_answer(answer: Mapping[str, object], *fields: str) -> None:
    """Raise `Unavailable` unless an answer has the fields that every store sends.

    The driver reads the page of a proxy, or nothing at all, as an answer without fields. Taken for one, it would be an
    empty list of parts, or an object of another type, which is deleted.
    """
    for field in fields:
        if field not in answer:
            raise Unavailable("S3", reason=f"an answer has no {field}")


@asynccontextmanager
async def calling(
    limit: timedelta, *, expected: frozenset[str] = frozenset()
) -> AsyncIterator[None]:
    """Raise `Unavailable` if the block takes longer than `limit` or the store fails.

    Raise `Refused` for the codes that the caller expects. The driver has no working time-out of its own: it waits
    for ever for the `100 Continue` of a store that has stopped.
    """
    from aiohttp import ClientError as HttpError  # noqa: PLC0415 - see `S3Client`
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        async with asyncio.timeout(limit.total_seconds()):
            yield
    except TimeoutError as error:
        raise Unavailable("S3", reason=NO_ANSWER) from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in expected:
            raise Refused(code) from error
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status in _NOT_NOW or status >= 500:  # noqa: PLR2004 - errors of the server
            raise Unavailable("S3", reason=f"it answers {code}") from error
        raise
    except (BotoCoreError, HttpError, OSError) as error:  # HttpError: a body that is cut off
        reason = network_reason(error)
        if reason is None and type(error).__name__.endswith("TimeoutError"):
            reason = NO_ANSWER
        raise Unavailable("S3", reason=reason or type(error).__name__) from error
