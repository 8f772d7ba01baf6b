"""The caller of a use case and their client, as use cases, throttles and the audit log need them."""

from dataclasses import dataclass

from application.ports.unit_of_work import UnitOfWork
from domain.access import Access
from domain.identity import User, UserId, UserNotFound
from domain.sessions import InvalidToken, SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """The client of a request: its address as trusted proxies report it, its User-Agent, and the request id."""

    address: str
    agent: str | None = None
    request_id: str = ""

    @property
    def shown_agent(self) -> str:
        """The User-Agent for people to read, cut to 256 characters; empty if there is none."""
        return (self.agent or "")[:256]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An active user in a living session, with their access and their client."""

    user_id: UserId
    session_id: SessionId
    access: Access
    client: ClientInfo
    permission: str | None = None
    """The permission that the route requires; None if it requires only a session."""
    accepts_one_time_password: bool = False
    """Whether the route accepts a user who must change a one-time password first."""


async def lock_caller(uow: UnitOfWork, caller: Caller) -> User:
    """Lock and return the stored caller; raise `InvalidToken` if they were deleted meanwhile."""
    try:
        return await uow.users.lock(caller.user_id)
    except UserNotFound:
        raise InvalidToken("the user is gone") from None
