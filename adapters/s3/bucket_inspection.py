"""How the bucket is set up, as far as Portico depends on it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from adapters.s3.client import S3Client
from adapters.s3.errors import Refused, calling
from application.ports.health import Concern, Inspection, Remark
from application.settings import S3Settings
from domain.errors import Unavailable

_LONGEST_UPLOAD = 7
"""How many days an upload may take."""

_NONE = frozenset({"NoSuchCORSConfiguration", "NoSuchLifecycleConfiguration", "NoSuchBucketPolicy"})


class BucketInspection(Inspection):
    """Asks who may upload from a page, whether strangers may read, and what ends an abandoned upload."""

    name = "s3"

    def __init__(self, client: S3Client, settings: S3Settings, origins: Collection[str]) -> None:
        self._client = client
        self._limit = settings.timeout
        self._origins = frozenset(origins)

    async def remarks(self) -> Sequence[Remark]:
        client = await self._client.get()
        return (
            self._pages(await self._ask(client.get_bucket_cors)),
            _strangers(await self._ask(client.get_bucket_policy_status)),
            _uploads(await self._ask(client.get_bucket_lifecycle_configuration)),
        )

    async def _ask(self, call: Callable[..., Awaitable[Any]]) -> Mapping[str, Any] | None:
        """Return the answer, empty if nothing is set up; None if this store or key does not say."""
        try:
            async with calling(self._limit, expected=_NONE):
                answer: Mapping[str, Any] = await call(Bucket=self._client.bucket)
        except Refused:
            return {}
        except Unavailable:
            return None
        return answer

    def _pages(self, answer: Mapping[str, Any] | None) -> Remark:
        if answer is None:
            return Remark("CORS", "does not say which pages may upload")
        rules = answer.get("CORSRules", ())
        allowed = {
            origin
            for rule in rules
            if "PUT" in rule["AllowedMethods"]
            for origin in rule["AllowedOrigins"]
        }
        if not rules:
            concern = Concern.WARNING if self._origins else Concern.NONE
            return Remark("CORS", "no rule: most stores then let no page upload", concern)
        if "*" in allowed or self._origins <= allowed:
            return Remark("CORS", f"pages of {', '.join(sorted(allowed)) or 'no site'} may upload")
        missing = ", ".join(sorted(self._origins - allowed))
        return Remark("CORS", f"no rule lets pages of {missing} upload", Concern.WARNING)


def _strangers(answer: Mapping[str, Any] | None) -> Remark:
    if answer is None:
        return Remark("policy", "does not say whether it is public")
    if answer.get("PolicyStatus", {}).get("IsPublic"):
        return Remark("policy", "is public: strangers can read all files", Concern.WRONG)
    return Remark("policy", "is not public")


def _uploads(answer: Mapping[str, Any] | None) -> Remark:
    if answer is None:
        return Remark("lifecycle", "does not say what ends abandoned uploads")
    days = [
        rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        for rule in answer.get("Rules", ())
        if rule["Status"] == "Enabled" and "AbortIncompleteMultipartUpload" in rule
    ]
    if not days:
        return Remark("lifecycle", "only portico.purge_files ends abandoned uploads")
    if min(days) < _LONGEST_UPLOAD:
        text = f"ends uploads after {min(days)} days, and Portico lets them take {_LONGEST_UPLOAD}"
        return Remark("lifecycle", text, Concern.WARNING)
    return Remark("lifecycle", f"ends abandoned uploads after {min(days)} days too")
