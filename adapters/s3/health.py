"""`Probe` of S3."""

from typing import TYPE_CHECKING

from adapters.reasons import NO_ANSWER, network_reason
from adapters.s3.client import S3Client
from application.ports.health import Probe
from domain.errors import Unavailable

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_REASONS = {
    "NoSuchBucket": "the bucket {bucket} does not exist",
    "404": "the bucket {bucket} does not exist",
    "InvalidAccessKeyId": "the access key is not known",
    "SignatureDoesNotMatch": "the secret key is not the right one",
    "AccessDenied": "the access key may not use the bucket {bucket}",
    "403": "the access key may not use the bucket {bucket}",
    "AllAccessDisabled": "the access key may not use the bucket {bucket}",
    "PermanentRedirect": "the bucket {bucket} is in another region",
    "301": "the bucket {bucket} is in another region",
    "AuthorizationHeaderMalformed": "the bucket {bucket} is in another region",
    "RequestTimeTooSkewed": "the clock of this host differs from that of the server",
}


class S3Probe(Probe):
    """Asks whether the bucket is there and open to us."""

    name = "s3"
    required = False

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def check(self) -> None:
        client = await self._client.get()
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see `S3Client`

        try:
            try:
                await client.head_bucket(Bucket=self._client.bucket)
            except ClientError:
                # HEAD has no body that would say why.
                await client.list_objects_v2(Bucket=self._client.bucket, MaxKeys=1)
        except ClientError as error:
            raise Unavailable("S3", reason=self._refusal(error)) from error
        except BotoCoreError as error:
            raise Unavailable("S3", reason=_failure(error)) from error

    def _refusal(self, error: "ClientError") -> str:
        code = error.response["Error"]["Code"]
        known = _REASONS.get(code, f"it answers {code}")
        return known.format(bucket=self._client.bucket)


def _failure(error: Exception) -> str:
    if reason := network_reason(error):
        return reason
    name = type(error).__name__
    return NO_ANSWER if name.endswith("TimeoutError") else name
