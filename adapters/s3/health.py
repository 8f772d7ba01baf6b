"""`Probe` of S3."""

from adapters.s3.client import S3Client
from application.ports.health import Probe


class S3Probe(Probe):
    """Asks whether the bucket is there and open to us."""

    name = "s3"

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def check(self) -> None:
        client = await self._client.get()
        await client.head_bucket(Bucket=self._client.bucket)
