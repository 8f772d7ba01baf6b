"""Who may connect, and who may send which event.

Each event declares in its `dependencies` who may send it: `PublicEvent`, `AuthenticatedEvent` or `GuardedEvent`. The
`connect` of each namespace declares whom it accepts: `AuthenticatedConnection`, or `PublicEvent` for everybody.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from functools import cache
from inspect import cleandoc, getdoc
from typing import Annotated, Any

import structlog
from fastapi import Depends
from starlette.requests import HTTPConnection

from application.use_cases.access.recheck import Checked
from application.use_cases.caller import Caller, ClientInfo
from bootstrap import Container
from domain.grants import PermissionCode
from domain.permissions import Route
from domain.sessions import NotAuthenticated
from entrypoints.client_address import client_of
from entrypoints.realtime.connections import Principal, local_connections
from entrypoints.socketio.handlers import PlannedHandler
from entrypoints.socketio.namespace import PREFIX
from entrypoints.socketio.parameters import SID, Auth, Event, Namespace
from entrypoints.socketio.server import AsyncServer
from entrypoints.wiring import provide, settings_of

METHOD = "EVENT"
"""What codes of events have where those of routes have a method: `EVENT:chat.send`."""

_TAG = "realtime"

_guard = provide(Container.guard)
_tokens = provide(Container.tokens)


# --- dependencies -------------------------------------------------------------------------------


async def authenticate(
    sid: SID, namespace: Namespace, auth: Auth, connection: HTTPConnection
) -> AsyncIterator[Principal]:
    """Accept a client by its access token: the `token` of what it sent, or else `Authorization: Bearer …`.

    Raise `NotAuthenticated`, or what the guard raises.
    """
    token = _token_of(auth) or _bearer_token(connection)
    if token is None:
        raise NotAuthenticated
    client = _client_info(connection, sid)
    checked, expires_at = await check_token(token, client, connection)
    _bind(checked.caller, sid)
    principals = local_connections(connection).principals
    principals[sid] = principal = Principal(sid, namespace, checked, expires_at)
    try:
        yield principal
    except BaseException:
        principals.pop(sid, None)
        raise


async def check_token(
    token: str, client: ClientInfo, connection: HTTPConnection
) -> tuple[Checked, datetime]:
    """Return whose an access token is, and when it expires; raise what the guard raises."""
    caller = await _guard.of(connection)(token, client)
    return Checked(token, caller), _tokens.of(connection).verify_access(token).expires_at


async def principal(sid: SID, connection: HTTPConnection) -> Principal:
    """Return whose the connection is; raise `NotAuthenticated` in a namespace that accepts everybody."""
    found = local_connections(connection).principals.get(sid)
    if found is None:
        raise NotAuthenticated
    return found


async def caller(sid: SID, connection: HTTPConnection) -> Caller:
    """Return the caller; raise what the guard raises."""
    return await _caller(sid, connection)


async def verify_permission(
    sid: SID, event: Event, namespace: Namespace, connection: HTTPConnection
) -> Caller:
    """Return the caller if one of their roles grants the permission of this event; else raise `PermissionDenied`."""
    return await _caller(sid, connection, permission=permission_of(namespace, event).value)


async def public() -> None:
    """Allow everybody who is connected."""


PrincipalDep = Annotated[Principal, Depends(principal)]
CallerDep = Annotated[Caller, Depends(caller)]
VerifyPermissionDep = Annotated[Caller, Depends(verify_permission)]

PublicEvent = Depends(public)
AuthenticatedEvent = Depends(caller)
GuardedEvent = Depends(verify_permission)
AuthenticatedConnection = Depends(authenticate)

_Declarations = frozenset[Callable[..., Any]]

_OF_EVENTS: _Declarations = frozenset({public, caller, verify_permission})
_OF_CONNECT: _Declarations = frozenset({public, authenticate})


async def _caller(sid: str, connection: HTTPConnection, *, permission: str | None = None) -> Caller:
    checked = (await principal(sid, connection)).checked
    _bind(checked.caller, sid)
    return await _guard.of(connection)(checked.token, checked.caller.client, permission=permission)


def _bind(caller: Caller, sid: str) -> None:
    structlog.contextvars.bind_contextvars(user_id=caller.user_id, request_id=sid)


def _token_of(auth: Any) -> str | None:  # noqa: ANN401 - what a client sent
    token = auth.get("token") if isinstance(auth, dict) else None
    return token if isinstance(token, str) else None


def _bearer_token(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip(" \t") if scheme.lower() == "bearer" else None


def _client_info(connection: HTTPConnection, sid: str) -> ClientInfo:
    address, _ = client_of(connection.scope, settings_of(connection).http.trusted_proxies)
    return ClientInfo(address=address, agent=connection.headers.get("user-agent"), request_id=sid)


# --- declarations -------------------------------------------------------------------------------


class UndeclaredEvent(RuntimeError):
    """Some events do not declare who may send them; the application does not start."""

    def __init__(self, events: Sequence[str]) -> None:
        super().__init__(
            "Each of these events must have exactly one of PublicEvent, AuthenticatedEvent and GuardedEvent in its "
            "`dependencies`, and `connect` of each namespace one of AuthenticatedConnection and PublicEvent: "
            f"{', '.join(events)}"
        )
        self.events = events


def check_declared(sio: AsyncServer) -> None:
    """Raise `UndeclaredEvent` unless each event, and each `connect`, declares exactly once for whom it is."""
    events = {*_events_of(sio)}
    events |= {(namespace, "connect") for namespace, _ in events}
    planned = sio.planned_handlers
    undeclared = [
        f"{event} of {namespace}"
        for namespace, event in sorted(events)
        if event != "disconnect"
        and not _is_declared(namespace, event, planned.get((namespace, event)))
    ]
    if undeclared:
        raise UndeclaredEvent(undeclared)


def guarded_events(sio: AsyncServer) -> Iterator[Route]:
    """Yield the events of a server that require a permission, with their names and descriptions."""
    for (namespace, event), handler in sorted(sio.planned_handlers.items()):
        if verify_permission in _declarations_of(handler, _OF_EVENTS):
            yield Route(
                method=METHOD,
                path=_path(namespace, event),
                name=event.replace(".", " ").replace("_", " ").capitalize(),
                description=cleandoc(getdoc(handler.plan.handler) or ""),
                tag=_TAG,
            )


@cache
def permission_of(namespace: str, event: str) -> PermissionCode:
    """Return the permission that a guarded event requires."""
    return PermissionCode.of(METHOD, _path(namespace, event))


def _path(namespace: str, event: str) -> str:
    return event if namespace == "/" else f"{namespace}/{event}"


def _events_of(sio: AsyncServer) -> Iterator[tuple[str, str]]:
    for namespace, handlers in sio.handlers.items():
        yield from ((namespace, event) for event in handlers)
    for namespace, methods in sio.namespace_handlers.items():
        for name in dir(methods):
            if name.startswith(PREFIX):
                yield namespace, name.removeprefix(PREFIX)


def _is_declared(namespace: str, event: str, handler: PlannedHandler | None) -> bool:
    known = _OF_CONNECT if event == "connect" else _OF_EVENTS
    if "*" in (namespace, event):
        known -= {verify_permission}  # a client would choose the name, and so the permission
    return handler is not None and len(_declarations_of(handler, known)) == 1


def _declarations_of(handler: PlannedHandler, known: _Declarations) -> list[Callable[..., Any]]:
    return [d.dependency for d in handler.plan.dependencies if d.dependency in known]
