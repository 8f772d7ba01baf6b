"""Authentication and authorization: the dependencies of routes for the caller, and the declaration of who may call.

`router` runs the declaration before anything else of a route.
"""

from functools import cache
from typing import Annotated

import structlog
from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from application.ports.tokens import Tokens
from application.use_cases.caller import Caller, ClientInfo
from application.use_cases.identity.profile import GetProfile
from bootstrap import Container
from domain.access import PermissionDenied
from domain.errors import Unauthenticated
from domain.grants import PermissionCode
from domain.identity import PasswordChangeRequired, User, UserId
from domain.sessions import AccessClaims, NotAuthenticated, RefreshClaims
from entrypoints.http.internals import route_of
from entrypoints.http.request_bodies import announces_body
from entrypoints.http.request_context import RequestContext, header, request_context
from entrypoints.wiring import UseCase, provide, settings_of

DEVICE_COOKIE = "portico_device"
"""The cookie that a log-in sets; its path limits it to the authentication routes."""

_guard = provide(Container.guard)
_refresh_session = provide(Container.refresh_session)
_log_out = provide(Container.log_out)

# --- credentials of the request, unverified -----------------------------------------------------


async def access_token(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer …`, unverified; None if there is no such header."""
    return _bearer_token(request_context(request.scope))


async def refresh_token(request: Request) -> str | None:
    """Return the `X-Refresh-Token` header, unverified."""
    return header(request.scope, b"x-refresh-token")


async def device_token(request: Request) -> str | None:
    """Return the device token: the `X-Device-Token` header, else the cookie."""
    return header(request.scope, b"x-device-token") or request.cookies.get(DEVICE_COOKIE)


async def user_agent(request: Request) -> str | None:
    """Return the `User-Agent` header."""
    return header(request.scope, b"user-agent")


async def client_info(request: Request) -> ClientInfo:
    """Return where the request comes from. Use `caller.client` where there is a caller."""
    return _client_info(request_context(request.scope))


HeaderAccessTokenDep = Annotated[str | None, Depends(access_token)]
HeaderRefreshTokenDep = Annotated[str | None, Depends(refresh_token)]
DeviceTokenDep = Annotated[str | None, Depends(device_token)]
HeaderUserAgentDep = Annotated[str | None, Depends(user_agent)]
ClientInfoDep = Annotated[ClientInfo, Depends(client_info)]


# --- verified -----------------------------------------------------------------------------------

_TokensDep = Annotated[Tokens, Depends(provide(Container.tokens))]


async def access_claims(token: HeaderAccessTokenDep, tokens: _TokensDep) -> AccessClaims:
    """Return the claims of a valid access token. Its session may have ended: only `CallerDep` checks that."""
    if token is None:
        raise NotAuthenticated
    return tokens.verify_access(token)


class NoRefreshToken(Unauthenticated):
    """The request has no refresh token."""

    code = "sessions.no_refresh_token"

    def __init__(self) -> None:
        super().__init__(
            "Send the refresh token as `X-Refresh-Token`, or as `refreshToken` in the body"
        )


async def refresh_claims(token: HeaderRefreshTokenDep, tokens: _TokensDep) -> RefreshClaims:
    """Return the claims of the refresh token in the header. It may be used already: only a refresh checks that."""
    if token is None:
        raise NoRefreshToken
    return tokens.verify_refresh(token)


# One dependency each, not a chain: FastAPI spends more time on a dependency than the guard on its work.
async def caller(request: Request) -> Caller:
    """Return the caller; raise `PasswordChangeRequired` if they logged in with a one-time password."""
    return await _caller(request)


async def caller_even_with_one_time_password(request: Request) -> Caller:
    """Return the caller, even if they must change their password first."""
    return await _caller(request, accepts_one_time_password=True)


async def verify_permission(request: Request) -> Caller:
    """Return the caller if one of their roles grants the permission of this route; else raise `PermissionDenied`."""
    return await _caller(request, permission=permission_of(request.scope))


async def refreshing_caller(request: Request, token: HeaderRefreshTokenDep) -> Caller:
    """Return the owner of the refresh token in the header; the token is not used up."""
    if token is None:
        raise NoRefreshToken
    context = request_context(request.scope)
    found = await _guard.of(request).with_refresh_token(token, _client_info(context))
    _record_user(context, found.user_id)
    return found


CallerDep = Annotated[Caller, Depends(caller)]
OneTimePasswordCallerDep = Annotated[Caller, Depends(caller_even_with_one_time_password)]
VerifyPermissionDep = Annotated[Caller, Depends(verify_permission)]


async def user(caller: CallerDep, get_profile: UseCase[GetProfile]) -> User:
    """Return the stored user of the caller."""
    return (await get_profile(caller)).user


UserAccessJWTDep = Annotated[AccessClaims, Depends(access_claims)]
UserRefreshJWTDep = Annotated[RefreshClaims, Depends(refresh_claims)]
UserDBDep = Annotated[User, Depends(user)]
UserRefreshDep = Annotated[Caller, Depends(refreshing_caller)]


# --- who may call -------------------------------------------------------------------------------


async def public(_request: Request) -> None:
    """Allow everybody."""


async def public_refresh(request: Request) -> None:
    """Refuse an `X-Refresh-Token` that is not ours; the route refuses requests without a token in a header."""
    token = await refresh_token(request)
    if token is not None and _has_more_than_tokens(request):
        _refresh_session.of(request).verify(token)


async def public_log_out(request: Request) -> None:
    """Refuse tokens in headers of which none is ours; the route refuses requests without one."""
    access, refresh = await access_token(request), await refresh_token(request)
    if (access is not None or refresh is not None) and _has_more_than_tokens(request):
        _log_out.of(request).verify(access, refresh)


def _has_more_than_tokens(request: Request) -> bool:
    """Tell whether there are errors that strangers must not learn; otherwise the route alone verifies a token."""
    return announces_body(request.scope) or bool(request.scope["query_string"])


async def debug_only(request: Request) -> None:
    """Raise 404, as if the route did not exist, outside of debug environments."""
    if not settings_of(request).environment.debug:
        raise HTTPException(404)


PublicRoute = Depends(public)
RefreshRoute = Depends(public_refresh)
LogOutRoute = Depends(public_log_out)
AuthenticatedRoute = Depends(caller)
GuardedRoute = Depends(verify_permission)
OneTimePasswordRoute = Depends(caller_even_with_one_time_password)
DebugOnlyDep = Annotated[None, Depends(debug_only)]

OPEN = frozenset({public, public_refresh, public_log_out})
"""Those that want no caller."""
DECLARATIONS = OPEN | {caller, verify_permission, caller_even_with_one_time_password}


class UnknownTemplate(RuntimeError):
    """The full path template of a guarded route is unknown, so the route refuses every caller."""


def permission_of(scope: Scope) -> str:
    """Return the permission code of the matched route; raise `UnknownTemplate` rather than guess it."""
    # Only this has the prefixes of all routers. `scope["route"]` lacks them, so two routes could share a code.
    route = route_of(scope)
    if route is None:
        raise UnknownTemplate(f"{scope['method']} {scope['path']}: serve it from a Router")
    return _code(scope["method"], route.path_format)


@cache
def _code(method: str, template: str) -> str:
    return PermissionCode.of(method, template).value


async def _caller(
    request: Request, *, permission: str | None = None, accepts_one_time_password: bool = False
) -> Caller:
    context = request_context(request.scope)
    found = context.caller
    if found is not None and _is_enough(
        found, permission, accepts_one_time_password=accepts_one_time_password
    ):
        return found
    token = _bearer_token(context)
    if token is None:
        raise NotAuthenticated
    guard = _guard.of(request)
    try:
        found = await guard(
            token,
            _client_info(context),
            permission=permission,
            accepts_one_time_password=accepts_one_time_password,
        )
    except (PermissionDenied, PasswordChangeRequired) as refusal:
        _record_user(context, refusal.user_id)  # for the log
        raise
    _record_user(context, found.user_id)
    context.caller = found
    return found


def _is_enough(found: Caller, permission: str | None, *, accepts_one_time_password: bool) -> bool:
    """Return whether a caller was checked for as much as this, or more."""
    return permission in {None, found.permission} and (
        accepts_one_time_password or not found.accepts_one_time_password
    )


def _client_info(context: RequestContext) -> ClientInfo:
    return ClientInfo(
        address=context.client,
        agent=context.header(b"user-agent"),
        request_id=context.request_id,
    )


def _record_user(context: RequestContext, user_id: UserId) -> None:
    context.user_id = user_id
    structlog.contextvars.bind_contextvars(user_id=user_id)


def _bearer_token(context: RequestContext) -> str | None:
    authorization = context.header(b"authorization")
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    # Only the white space of HTTP (RFC 9110 §5.6.3): `str.strip` would remove no-break spaces as well.
    return token.strip(" \t") if scheme.lower() == "bearer" else None
