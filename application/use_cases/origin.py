"""Where a request comes from: what throttles, sessions and the audit log note of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The address that the trusted proxies report, the User-Agent as sent, and the id of the request."""

    address: str
    agent: str | None = None
    request_id: str = ""
