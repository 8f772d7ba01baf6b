"""The client of S3, as far as it needs no store."""

import asyncio
import errno

import pytest
from aioboto3 import Session

from adapters.s3.client import S3Client
from application.settings import S3Settings

ADDRESSES = S3Settings(
    url="http://store.internal",
    public_url="https://store.example.org",
    access_key="a",
    secret_key="b",
)


async def test_a_client_that_could_not_be_made_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = S3Client(ADDRESSES)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "__init__", _no_file_left)
        with pytest.raises(OSError, match="files"):
            await client.get()
    try:
        assert (await client.get()).meta.endpoint_url == "http://store.internal"
    finally:
        await client.aclose()


def _no_file_left(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


async def test_two_addresses_share_the_description_of_s3() -> None:
    """It takes 13 MB."""
    client = S3Client(ADDRESSES)
    try:
        inside, outside = await asyncio.gather(client.get(), client.signer())

        assert inside.meta.endpoint_url != outside.meta.endpoint_url
        assert inside.meta.service_model.metadata is outside.meta.service_model.metadata
    finally:
        await client.aclose()
