"""Log-in, token refresh and log-out."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Form
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from application.use_cases.sessions.devices import LogOut, LogOutEverywhere
from application.use_cases.sessions.log_in import LogIn
from application.use_cases.sessions.refresh import RefreshSession
from domain.identity import Password
from domain.password_transport import SealedPassword
from domain.sessions import NotAuthenticated
from entrypoints.http.envelope import ApiModel, Envelope, Text
from entrypoints.http.identity.bodies import Ciphertext, KeyId, UserBody
from entrypoints.http.router import Router
from entrypoints.http.security import (
    DEVICE_COOKIE,
    ClientInfoDep,
    DebugOnlyDep,
    DeviceTokenDep,
    HeaderAccessTokenDep,
    HeaderRefreshTokenDep,
    LogOutRoute,
    NoRefreshToken,
    OneTimePasswordCallerDep,
    OneTimePasswordRoute,
    PublicRoute,
    RefreshRoute,
)
from entrypoints.wiring import UseCase, settings_of

router = Router(prefix="/auth")
debug_router = Router(prefix="/auth")


# --- the device -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Device:
    """The device token of the request, and the response that can set a new one."""

    token: str | None
    _request: Request
    _response: Response

    def remember(self, token: str | None) -> None:
        """Set the device cookie to `token`, if there is one."""
        if token is None:
            return
        settings = settings_of(self._request)
        self._response.set_cookie(
            DEVICE_COOKIE,
            token,
            max_age=int(settings.throttle.known_device.total_seconds()),
            path=f"{self._request.scope.get('root_path', '')}/api/v1/auth",
            # A laptop has no TLS, and a browser sends no Secure cookie to it.
            secure=settings.environment.deployed,
            httponly=True,
            samesite="strict",
        )


async def device(request: Request, response: Response, token: DeviceTokenDep) -> Device:
    """Return the device of this log-in."""
    return Device(token, request, response)


DeviceDep = Annotated[Device, Depends(device)]


# --- bodies -------------------------------------------------------------------------------------


class LogInBody(ApiModel):
    """A name and an encrypted password."""

    username: Text = Field(description="The username or the email.", examples=["ada.lovelace"])
    password: Ciphertext
    kid: KeyId = None
    device_token: Text | None = Field(
        default=None,
        repr=False,
        description="The `deviceToken` of the last log-in, for clients without cookies; the header `X-Device-Token` "
        "works too. Failed log-ins elsewhere cannot lock out a device that sends it.",
        examples=["wq0cTq3oJ0mXbqkS0m4pXc1c8w0nq3tJp7m9o1kE2bY"],
    )


class TokensBody(ApiModel):
    """A pair of tokens. A refresh token can be used once; the response contains the next one."""

    access_token: str = Field(examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6…"])
    refresh_token: str = Field(examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6…"])
    token_type: Literal["Bearer"] = Field(default="Bearer")
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[600])
    refresh_expires_in: int = Field(
        description="Seconds until an unused refresh token expires.", examples=[604800]
    )


class LoggedInBody(TokensBody):
    """The tokens of a new session, and its user."""

    user: UserBody
    device_token: str | None = Field(
        description="Send this at the next log-in to this account from this device. Null if it could not be stored.",
        examples=["wq0cTq3oJ0mXbqkS0m4pXc1c8w0nq3tJp7m9o1kE2bY"],
    )


class RefreshTokenBody(ApiModel):
    """A refresh token, for clients that cannot send the `X-Refresh-Token` header."""

    refresh_token: str = Field(
        max_length=16384, repr=False, examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6…"]
    )


class OAuth2Form(BaseModel):
    """The password grant of OAuth 2.0 (RFC 6749 §4.3.2), sent by the docs page."""

    username: Text = Field(examples=["ada.lovelace"])
    password: str = Field(max_length=1000, repr=False, examples=["correct horse battery staple"])


class OAuth2TokenBody(BaseModel):
    """An access token for OAuth 2.0 clients (RFC 6749 §5.1): no envelope, snake_case."""

    access_token: str = Field(examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6…"])
    token_type: Literal["bearer"] = Field(default="bearer")
    expires_in: int = Field(examples=[600])


# --- routes -------------------------------------------------------------------------------------


@router.post("/login", dependencies=[PublicRoute], responses={200: {"headers": {"Set-Cookie": {}}}})
async def log_in(
    body: LogInBody,
    client: ClientInfoDep,
    device: DeviceDep,
    log_in: UseCase[LogIn],
) -> Envelope[LoggedInBody]:
    """Log in with a username or email and an encrypted password; get an access and a refresh token."""
    logged_in = await log_in(
        body.username,
        SealedPassword(body.password, body.kid),
        client,
        device=body.device_token or device.token,
    )
    device.remember(logged_in.device_token)
    return Envelope(
        data=LoggedInBody.present(
            logged_in.tokens,
            user=UserBody.of(logged_in.user, logged_in.roles),
            device_token=logged_in.device_token,
        )
    )


@router.post("/token/refresh", dependencies=[RefreshRoute])
async def refresh_session(
    client: ClientInfoDep,
    refresh_session: UseCase[RefreshSession],
    header: HeaderRefreshTokenDep,
    body: RefreshTokenBody | None = None,
) -> Envelope[TokensBody]:
    """Exchange a refresh token for a new pair. A repeat within the grace period returns the same refresh token.

    A token in the header is judged before the body is read; one in the body cannot be.
    """
    token = _one_refresh_token(header, body)
    if token is None:
        raise NoRefreshToken
    return Envelope(data=TokensBody.present(await refresh_session(token, client)))


@router.post("/logout", dependencies=[LogOutRoute])
async def log_out(
    client: ClientInfoDep,
    log_out: UseCase[LogOut],
    access_token: HeaderAccessTokenDep,
    header: HeaderRefreshTokenDep,
    body: RefreshTokenBody | None = None,
) -> Envelope[None]:
    """End the session of an access token or a refresh token. The access token may have expired.

    Tokens in headers are judged before the body is read. If none of them is ours, one in the body is not looked at.
    """
    refresh_token = _one_refresh_token(header, body)
    if access_token is None and refresh_token is None:
        raise NotAuthenticated
    await log_out(client, access_token=access_token, refresh_token=refresh_token)
    return Envelope(data=None)


@router.post("/logout/all", dependencies=[OneTimePasswordRoute])
async def log_out_everywhere(
    caller: OneTimePasswordCallerDep, log_out_everywhere: UseCase[LogOutEverywhere]
) -> Envelope[None]:
    """End all sessions of the caller, including this one."""
    await log_out_everywhere(caller)
    return Envelope(data=None)


@debug_router.post(
    "/login/swagger",
    dependencies=[PublicRoute],
    responses={200: {"headers": {"Set-Cookie": {}}}},
)
async def log_in_from_docs(
    _: DebugOnlyDep,
    form: Annotated[OAuth2Form, Form()],
    client: ClientInfoDep,
    device: DeviceDep,
    log_in: UseCase[LogIn],
) -> OAuth2TokenBody:
    """Log in from the docs page. The password is not encrypted, so deployed environments lack this route."""
    logged_in = await log_in(form.username, Password(form.password), client, device=device.token)
    device.remember(logged_in.device_token)
    return OAuth2TokenBody(
        access_token=logged_in.tokens.access_token, expires_in=logged_in.tokens.expires_in
    )


def _one_refresh_token(header: str | None, body: RefreshTokenBody | None) -> str | None:
    """Return the refresh token from the header or the body; refuse two different ones."""
    if header is not None and body is not None and header != body.refresh_token:
        raise HTTPException(400, "The header and the body have different refresh tokens")
    return header if body is None else body.refresh_token
