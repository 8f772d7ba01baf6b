"""`Probe` of S3: one plain HTTP request, so that a process without files never loads the client's 50 MB."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from http.client import HTTPException
from ssl import create_default_context
from urllib.error import HTTPError
from urllib.parse import SplitResult, quote, urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from adapters.reasons import network_reason
from adapters.s3.client import is_this_machine
from application.ports.health import Probe
from application.ports.object_store import BucketNotFound
from application.ports.system import Clock
from application.settings import S3Settings
from domain.errors import Unavailable

_REASONS = {
    "NoSuchBucket": "the bucket {bucket} does not exist",
    "InvalidAccessKeyId": "the access key is not known",
    "SignatureDoesNotMatch": "the secret key is not the right one",
    "AccessDenied": "the access key may not use the bucket {bucket}",
    "AllAccessDisabled": "the access key may not use the bucket {bucket}",
    "PermanentRedirect": "the bucket {bucket} is in another region",
    "AuthorizationHeaderMalformed": "the bucket {bucket} is in another region",
    "RequestTimeTooSkewed": "the clock of this host differs from that of the server",
}
_CODE = re.compile(rb"<Code>(\w{1,100})</Code>")
_QUERY = "list-type=2&max-keys=1"
_NO_BODY = hashlib.sha256(b"").hexdigest()


class S3Probe(Probe):
    """Asks whether the bucket is there and open to us; raises `BucketNotFound` if there is none.

    Without an access key in the settings it cannot sign, and asks only whether the store answers and has the bucket.
    """

    name = "s3"
    required = False

    def __init__(self, settings: S3Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def check(self) -> None:
        # Not over asyncio's streams: only urllib knows the proxies of the environment.
        await asyncio.to_thread(self._ask)

    def _ask(self) -> None:
        settings = self._settings
        url = address_of(settings)
        path = f"{url.path.rstrip('/')}/{quote(settings.bucket)}"
        headers = (
            signed_headers(settings, url.netloc, path, self._clock.now())
            if settings.access_key
            else {}
        )
        request = Request(f"{url.scheme}://{url.netloc}{path}?{_QUERY}", headers=headers)  # noqa: S310 - ours
        try:
            self._opener.open(request, timeout=settings.timeout.total_seconds()).close()
        except HTTPError as refusal:
            with refusal:
                found = _CODE.search(refusal.read(1 << 16))
            code = found[1].decode() if found else str(refusal.code)
            if settings.access_key or code != "AccessDenied":
                error = BucketNotFound if code == "NoSuchBucket" else Unavailable
                reason = _REASONS.get(code, f"it answers {code}")
                raise error("S3", reason=reason.format(bucket=settings.bucket)) from refusal
        except (OSError, HTTPException) as error:
            raise Unavailable("S3", reason=network_reason(error) or type(error).__name__) from error

    @cached_property
    def _opener(self) -> OpenerDirector:
        # One: to read the certificates of the system takes tens of milliseconds.
        return opener_for(self._settings)


def address_of(settings: S3Settings) -> SplitResult:
    """Return the address of the store: the configured one, or Amazon's."""
    return urlsplit(settings.url or f"https://s3.{settings.region}.amazonaws.com")


def opener_for(settings: S3Settings) -> OpenerDirector:
    """Return what opens URLs of the store, through the proxies of the environment unless it is on this machine."""
    if is_this_machine(settings.url):
        return build_opener(_NoRedirects, ProxyHandler({}))
    return build_opener(_NoRedirects, HTTPSHandler(context=create_default_context()))


class _NoRedirects(HTTPRedirectHandler):
    """Leaves a redirect as the answer: urllib would show the signed headers to the server that it names."""

    def redirect_request(self, *_: object) -> None:
        return None


def signed_headers(settings: S3Settings, host: str, path: str, now: datetime) -> Mapping[str, str]:
    """Return the headers that sign a GET of `path` with `_QUERY` (AWS Signature Version 4)."""
    at = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    signed = {"host": host, "x-amz-content-sha256": _NO_BODY, "x-amz-date": at}
    canonical = "\n".join(
        (
            "GET",
            path,
            _QUERY,
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            ";".join(signed),
            _NO_BODY,
        )
    )
    scope = f"{at[:8]}/{settings.region}/s3/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{settings.secret_key}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashed}"):
        key = hmac.digest(key, part.encode(), "sha256")
    return {
        **signed,
        "authorization": f"AWS4-HMAC-SHA256 Credential={settings.access_key}/{scope}, "
        f"SignedHeaders={';'.join(signed)}, Signature={key.hex()}",
    }
