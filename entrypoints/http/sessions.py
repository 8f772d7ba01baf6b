"""Sessions: keys, log-in, refresh, log-out, and the caller's devices."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Form
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import Response as HttpResponse

from application.ports.sessions import TransportKey
from application.ports.system import Clock
from application.use_cases.sessions import (
    EndSession,
    GetPublicKeys,
    GetTransportKey,
    ListSessions,
    LogIn,
    LogOut,
    LogOutEverywhere,
    RefreshSession,
    TokenPair,
)
from bootstrap import Container
from domain.identity import Password
from domain.sessions import (
    NotAuthenticated,
    SealedPassword,
    Session,
    SessionId,
)
from entrypoints.http.envelope import Body, Response, Text
from entrypoints.http.identity import Ciphertext, KeyId, UserBody
from entrypoints.http.security import (
    AnyPasswordCallerDep,
    AuthenticatedRoute,
    CallerDep,
    DebugOnlyDep,
    DeviceDep,
    HeaderAccessTokenDep,
    HeaderRefreshTokenDep,
    NoRefreshToken,
    OneTimePasswordRoute,
    PublicRoute,
)
from entrypoints.http.wiring import use_case

router = APIRouter(prefix="/auth", tags=["sessions"])
debug_router = APIRouter(prefix="/auth", tags=["sessions"])
well_known_router = APIRouter(prefix="/.well-known", tags=["sessions"])

ClockDep = Annotated[Clock, Depends(use_case(Container.clock))]
GetTransportKeyDep = Annotated[GetTransportKey, Depends(use_case(Container.get_transport_key))]
GetPublicKeysDep = Annotated[GetPublicKeys, Depends(use_case(Container.get_public_keys))]
LogInDep = Annotated[LogIn, Depends(use_case(Container.log_in))]
RefreshSessionDep = Annotated[RefreshSession, Depends(use_case(Container.refresh_session))]
LogOutDep = Annotated[LogOut, Depends(use_case(Container.log_out))]
LogOutEverywhereDep = Annotated[LogOutEverywhere, Depends(use_case(Container.log_out_everywhere))]
ListSessionsDep = Annotated[ListSessions, Depends(use_case(Container.list_sessions))]
EndSessionDep = Annotated[EndSession, Depends(use_case(Container.end_session))]


# --- bodies -------------------------------------------------------------------------------------


class TransportKeyBody(Body):
    """The key under which a client encrypts passwords."""

    kid: str = Field(examples=["m1p0HcV3TzD9o2gq8x7yJb6sR4uWnKfE5aLiQwZtXhM"])
    algorithm: Literal["RSA-OAEP-256"] = "RSA-OAEP-256"
    public_key: str = Field(
        description="SubjectPublicKeyInfo, PEM.",
        examples=["-----BEGIN PUBLIC KEY-----\nMIIB…\n-----END PUBLIC KEY-----\n"],
    )
    jwk: Mapping[str, str] = Field(
        description="The same key as Web Crypto imports it (RFC 7517).",
        examples=[{"kty": "RSA", "alg": "RSA-OAEP-256", "use": "enc", "n": "0vx7…", "e": "AQAB"}],
    )
    server_time: datetime = Field(
        description="When this was answered; a cached answer is older by its `Age`.",
        examples=["2026-01-01T00:00:00Z"],
    )

    @classmethod
    def of(cls, key: TransportKey, now: datetime) -> Self:
        """Present `key`."""
        return cls(kid=key.key_id, public_key=key.pem, jwk=key.jwk, server_time=now)


class LogInBody(Body):
    """A name and an encrypted password."""

    username: Text = Field(description="The username or the email.", examples=["ada.lovelace"])
    password: Ciphertext
    kid: KeyId = None


class TokensBody(Body):
    """A pair of tokens. The refresh token is used once; its answer has the next one."""

    access_token: str = Field(examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6…"])
    refresh_token: str = Field(examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6…"])
    token_type: Literal["Bearer"] = Field(default="Bearer")
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[600])
    refresh_expires_in: int = Field(
        description="Seconds until the refresh token expires if it is not used.", examples=[604800]
    )

    @classmethod
    def of(cls, tokens: TokenPair) -> Self:
        """Present `tokens`."""
        return cls(
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_in=tokens.expires_in,
            refresh_expires_in=tokens.refresh_expires_in,
        )


class LoggedInBody(TokensBody):
    """The tokens of a new session, and whose it is."""

    user: UserBody


class RefreshTokenBody(Body):
    """A refresh token, for clients that cannot send the `X-Refresh-Token` header."""

    refresh_token: str = Field(
        max_length=16384, repr=False, examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6…"]
    )


class SessionBody(Body):
    """One device that is logged in."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b22"])
    agent: str = Field(
        description="The User-Agent it logged in with.",
        examples=["Mozilla/5.0 (X11; Linux x86_64)"],
    )
    address: str = Field(description="Where it logged in from.", examples=["203.0.113.7"])
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    last_seen_at: datetime = Field(
        description="When it last refreshed its tokens.", examples=["2026-01-01T08:00:00Z"]
    )
    ends_at: datetime = Field(
        description="When it ends whatever it does.", examples=["2026-01-31T00:00:00Z"]
    )
    current: bool = Field(description="Whether it made this request.", examples=[True])

    @classmethod
    def of(cls, session: Session, *, current: SessionId) -> Self:
        """Present `session` to the one that is `current`."""
        return cls(
            id=session.id,
            agent=session.agent,
            address=session.address,
            created_at=session.created_at,
            last_seen_at=session.last_seen_at,
            ends_at=session.ends_at,
            current=session.id == current,
        )


class JwkSetBody(BaseModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: Sequence[Mapping[str, str]] = Field(
        examples=[
            [
                {
                    "kty": "RSA",
                    "alg": "RS256",
                    "use": "sig",
                    "kid": "m1p0HcV3TzD9o2gq8x7yJb6sR4uWnKfE5aLiQwZtXhM",
                    "n": "0vx7…",
                    "e": "AQAB",
                }
            ]
        ]
    )


class OAuth2Form(BaseModel):
    """The password grant of OAuth 2.0 (RFC 6749 §4.3.2), as the docs page sends it."""

    username: Text
    password: str = Field(max_length=1000, repr=False)


class OAuth2TokenBody(BaseModel):
    """An access token as OAuth 2.0 clients read it (RFC 6749 §5.1): no envelope, snake_case."""

    access_token: str = Field(examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6…"])
    token_type: Literal["bearer"] = Field(default="bearer")
    expires_in: int = Field(examples=[600])


# --- routes -------------------------------------------------------------------------------------


@router.get("/keys/public", dependencies=[PublicRoute])
async def get_transport_key(
    response: HttpResponse,
    device: DeviceDep,
    get_transport_key: GetTransportKeyDep,
    clock: ClockDep,
) -> Response[TransportKeyBody]:
    """Get the key under which passwords are encrypted before they are sent."""
    key = await get_transport_key(device)
    response.headers["Cache-Control"] = "public, max-age=60"
    return Response(data=TransportKeyBody.of(key, clock.now()))


@router.post("/login", dependencies=[PublicRoute])
async def log_in(body: LogInBody, device: DeviceDep, log_in: LogInDep) -> Response[LoggedInBody]:
    """Exchange a name and an encrypted password for an access and a refresh token."""
    logged_in = await log_in(body.username, SealedPassword(body.password, body.kid), device)
    tokens = TokensBody.of(logged_in.tokens)
    return Response(data=LoggedInBody(**dict(tokens), user=UserBody.of(logged_in.user)))


@router.post("/token/refresh", dependencies=[PublicRoute])
async def refresh_session(
    device: DeviceDep,
    refresh_session: RefreshSessionDep,
    header: HeaderRefreshTokenDep,
    body: RefreshTokenBody | None = None,
) -> Response[TokensBody]:
    """Exchange a refresh token for a new pair; the same one again within the grace period gives the same successor."""
    token = _one_refresh_token(header, body)
    if token is None:
        raise NoRefreshToken
    return Response(data=TokensBody.of(await refresh_session(token, device)))


@router.post("/logout", dependencies=[PublicRoute])
async def log_out(
    log_out: LogOutDep,
    access_token: HeaderAccessTokenDep,
    header: HeaderRefreshTokenDep,
    body: RefreshTokenBody | None = None,
) -> Response[None]:
    """End the session of an access token, which may have expired, or of a refresh token."""
    refresh_token = _one_refresh_token(header, body)
    if access_token is None and refresh_token is None:
        raise NotAuthenticated
    await log_out(access_token=access_token, refresh_token=refresh_token)
    return Response(data=None)


@router.post("/logout/all", dependencies=[OneTimePasswordRoute])
async def log_out_everywhere(
    caller: AnyPasswordCallerDep, log_out_everywhere: LogOutEverywhereDep
) -> Response[None]:
    """End all sessions of the caller, this one included."""
    await log_out_everywhere(caller)
    return Response(data=None)


@router.get("/sessions", dependencies=[AuthenticatedRoute])
async def list_sessions(
    caller: CallerDep, list_sessions: ListSessionsDep
) -> Response[Sequence[SessionBody]]:
    """List where the caller is logged in, the latest log-in first."""
    return Response(
        data=[
            SessionBody.of(session, current=caller.session_id)
            for session in await list_sessions(caller)
        ]
    )


@router.delete("/sessions/{session_id}", dependencies=[AuthenticatedRoute])
async def end_session(
    session_id: UUID, caller: CallerDep, end_session: EndSessionDep
) -> Response[None]:
    """End one session of the caller."""
    await end_session(caller, SessionId(session_id))
    return Response(data=None)


@debug_router.post("/login/swagger", dependencies=[PublicRoute])
async def log_in_from_docs(
    _: DebugOnlyDep, form: Annotated[OAuth2Form, Form()], device: DeviceDep, log_in: LogInDep
) -> OAuth2TokenBody:
    """Log in from the docs page. The password is in clear here, so deployed environments have no such route."""
    logged_in = await log_in(form.username, Password(form.password), device)
    return OAuth2TokenBody(
        access_token=logged_in.tokens.access_token, expires_in=logged_in.tokens.expires_in
    )


class JwkSetResponse(JSONResponse):
    """A JSON Web Key Set, in its own media type (RFC 7517 §8.5.2)."""

    media_type = "application/jwk-set+json"


@well_known_router.get(
    "/jwks.json",
    response_model=JwkSetBody,
    response_class=JwkSetResponse,
    responses={304: {"description": "The client has this version already."}},
    dependencies=[PublicRoute],
)
async def get_public_keys(request: Request, get_public_keys: GetPublicKeysDep) -> HttpResponse:
    """Get the keys with which access tokens are verified: the next, the active, and the retired ones in use."""
    response = JwkSetResponse({"keys": [dict(key) for key in await get_public_keys()]})
    etag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "public, max-age=300"}
    if _is_known(etag, request.headers.get("if-none-match")):
        return HttpResponse(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _one_refresh_token(header: str | None, body: RefreshTokenBody | None) -> str | None:
    """Return the refresh token wherever it is; two different ones are no request at all."""
    if header is not None and body is not None and header != body.refresh_token:
        raise HTTPException(400, "The header and the body have different refresh tokens")
    return header if body is None else body.refresh_token


def _is_known(etag: str, if_none_match: str | None) -> bool:
    """Tell whether the client has this version (weak comparison, RFC 9110 §13.1.2)."""
    if if_none_match is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in known or "*" in known
