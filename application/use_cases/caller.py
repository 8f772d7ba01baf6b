"""Who makes a request, and from where: what use cases, throttles and the audit log know of it."""

from dataclasses import dataclass

from application.ports.unit_of_work import UnitOfWork
from domain.access import Access
from domain.identity import User, UserId, UserNotFound
from domain.sessions import InvalidToken, SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
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
    client: ClientInfo
    permission: str | None = None
    """What the route needs that let them in; None if it needs none but a session."""
    password_may_be_due: bool = False
    """Whether that route is open to who has nothing but a one-time password."""


async def lock_caller(uow: UnitOfWork, caller: Caller) -> User:
    """Lock the caller as they are stored; raise `InvalidToken` if they are gone since the guard let them in."""
    try:
        return await uow.users.lock(caller.user_id)
    except UserNotFound:
        raise InvalidToken("the user is gone") from None
