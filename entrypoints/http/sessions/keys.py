"""Public keys: one to encrypt passwords, and those that verify access tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from application.ports.password_transport import TransportKey
from application.use_cases.sessions.keys import GetPublicKeys, GetTransportKey
from entrypoints.http.envelope import ApiModel, Envelope
from entrypoints.http.router import Router
from entrypoints.http.security import ClientInfoDep, DeviceTokenDep, PublicRoute
from entrypoints.wiring import ClockDep, UseCase

router = Router(prefix="/auth")
well_known_router = Router(prefix="/.well-known", tags=["sessions"])


class TransportKeyBody(ApiModel):
    """The public key with which a client encrypts passwords."""

    kid: str = Field(examples=["m1p0HcV3TzD9o2gq8x7yJb6sR4uWnKfE5aLiQwZtXhM"])
    algorithm: Literal["RSA-OAEP-256"] = "RSA-OAEP-256"
    public_key: str = Field(
        description="SubjectPublicKeyInfo, PEM.",
        examples=["-----BEGIN PUBLIC KEY-----\nMIIB…\n-----END PUBLIC KEY-----\n"],
    )
    jwk: Mapping[str, str] = Field(
        description="The same key as a JWK (RFC 7517), for Web Crypto.",
        examples=[{"kty": "RSA", "alg": "RSA-OAEP-256", "use": "enc", "n": "0vx7…", "e": "AQAB"}],
    )
    server_time: datetime = Field(
        description="The server's time at this response. Add the `Age` header of a cached response.",
        examples=["2026-01-01T00:00:00Z"],
    )

    @classmethod
    def of(cls, key: TransportKey, now: datetime) -> Self:
        """Present `key`."""
        return cls(kid=key.key_id, public_key=key.pem, jwk=key.jwk, server_time=now)


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


@router.get("/keys/public", dependencies=[PublicRoute])
async def get_transport_key(
    response: Response,
    client: ClientInfoDep,
    device: DeviceTokenDep,
    get_transport_key: UseCase[GetTransportKey],
    clock: ClockDep,
) -> Envelope[TransportKeyBody]:
    """Get the public key with which clients encrypt passwords."""
    key = await get_transport_key(client, device=device)
    response.headers["Cache-Control"] = "public, max-age=60"
    return Envelope(data=TransportKeyBody.of(key, clock.now()))


class JwkSetResponse(JSONResponse):
    """A JSON Web Key Set, in its own media type (RFC 7517 §8.5.2)."""

    media_type = "application/jwk-set+json"


@well_known_router.get(
    "/jwks.json",
    response_model=JwkSetBody,
    response_class=JwkSetResponse,
    responses={
        200: {"headers": {"ETag": {}}},
        304: {"headers": {"ETag": {}}, "description": "The client has this version already."},
    },
    dependencies=[PublicRoute],
)
async def get_public_keys(request: Request, get_public_keys: UseCase[GetPublicKeys]) -> Response:
    """Get the keys that verify access tokens: the next, the active, and retired ones still in use."""
    response = JwkSetResponse({"keys": [dict(key) for key in await get_public_keys()]})
    etag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "public, max-age=300"}
    if _is_known(etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _is_known(etag: str, if_none_match: str | None) -> bool:
    """Tell whether the client has this version (weak comparison, RFC 9110 §13.1.2)."""
    if if_none_match is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in known or "*" in known
