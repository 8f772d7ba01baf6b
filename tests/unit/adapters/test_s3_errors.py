"""What an error of an S3-compatible store means to those who called."""

import asyncio
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from adapters.s3.errors import Refused, calling
from domain.errors import Unavailable

A_MINUTE = timedelta(minutes=1)


def an_error(status: int, code: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "HeadObject",
    )


@pytest.mark.parametrize(
    "error",
    [
        an_error(500, "InternalError"),
        an_error(503, "SlowDown"),
        an_error(403, "AccessDenied"),
        an_error(403, "RequestTimeTooSkewed"),
        an_error(404, "NoSuchBucket"),
        an_error(409, "ConditionalRequestConflict"),
        an_error(429, "TooManyRequests"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
        ConnectionResetError(),
    ],
    ids=str,
)
async def test_a_store_that_fails_or_refuses_us_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable):
        async with calling(A_MINUTE):
            raise error


async def test_a_store_that_takes_too_long_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        async with calling(timedelta(milliseconds=1)):
            await asyncio.Event().wait()


async def test_an_expected_refusal_is_told_by_its_code() -> None:
    with pytest.raises(Refused, match="NoSuchKey"):
        async with calling(A_MINUTE, expected=frozenset({"NoSuchKey"})):
            raise an_error(404, "NoSuchKey")


async def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(ClientError):
        async with calling(A_MINUTE):
            raise an_error(400, "InvalidArgument")
