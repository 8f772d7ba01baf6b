"""Who makes a request, and from where: what use cases, throttles and the audit log know of it."""

from dataclasses import dataclass

from domain.access import Access
from domain.identity import UserId
from domain.sessions import SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The address that the trusted proxies report, the User-Agent as sent, and the id of the request."""

    address: str
    agent: str | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An active user in a living session, what they may do, and where the request comes from."""

    user_id: UserId
    session_id: SessionId
    access: Access
    origin: Origin
