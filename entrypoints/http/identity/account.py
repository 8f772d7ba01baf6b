"""The caller's own account: registration, profile and password."""

from starlette.requests import Request
from starlette.responses import Response

from application.use_cases.identity.passwords import ChangePassword
from application.use_cases.identity.profile import GetProfile, UpdateProfile
from application.use_cases.identity.registration import Register
from domain.password_transport import SealedPassword
from entrypoints.http.envelope import ApiModel, CreatedEnvelope, Envelope, MayBeLeftOut, locate
from entrypoints.http.identity.bodies import (
    Ciphertext,
    EmailField,
    KeyId,
    NameField,
    UserBody,
    UsernameField,
)
from entrypoints.http.preconditions import tag
from entrypoints.http.router import Router
from entrypoints.http.security import (
    AuthenticatedRoute,
    CallerDep,
    ClientInfoDep,
    DeviceTokenDep,
    OneTimePasswordCallerDep,
    OneTimePasswordRoute,
    PublicRoute,
)
from entrypoints.wiring import UseCase

router = Router(prefix="/auth")


class RegisterBody(ApiModel):
    """A new account."""

    username: UsernameField
    email: EmailField
    name: NameField
    password: Ciphertext
    kid: KeyId = None


class UpdateProfileBody(ApiModel):
    """The properties to change. A property that is left out stays as it is."""

    name: MayBeLeftOut[NameField] = None
    email: MayBeLeftOut[EmailField] = None


class ChangePasswordBody(ApiModel):
    """The current and the new password, each encrypted separately."""

    old_password: Ciphertext
    new_password: Ciphertext
    kid: KeyId = None


@router.post("/register", status_code=201, dependencies=[PublicRoute])
async def register(
    body: RegisterBody,
    client: ClientInfoDep,
    register: UseCase[Register],
    request: Request,
    response: Response,
) -> CreatedEnvelope[UserBody]:
    """Register a new account, if registration is open."""
    user = await register(
        body.username,
        body.email,
        body.name,
        SealedPassword(body.password, body.kid),
        client,
    )
    locate(request, response, "user/info")
    tag(response, user.updated_at)
    return CreatedEnvelope(data=UserBody.of(user, roles=()))


@router.get("/user/info", dependencies=[OneTimePasswordRoute])
async def get_user_info(
    caller: OneTimePasswordCallerDep, get_profile: UseCase[GetProfile]
) -> Envelope[UserBody]:
    """Get the caller's profile and permissions."""
    found = await get_profile(caller)
    return Envelope(data=UserBody.of(found.user, found.roles))


@router.patch("/user/info", dependencies=[AuthenticatedRoute])
async def update_profile(
    body: UpdateProfileBody, caller: CallerDep, update_profile: UseCase[UpdateProfile]
) -> Envelope[UserBody]:
    """Change the caller's name or email."""
    changed = await update_profile(caller, name=body.name, email=body.email)
    return Envelope(data=UserBody.of(changed.user, changed.roles))


@router.post("/password", dependencies=[OneTimePasswordRoute])
async def change_password(
    body: ChangePasswordBody,
    caller: OneTimePasswordCallerDep,
    change_password: UseCase[ChangePassword],
    device: DeviceTokenDep,
) -> Envelope[None]:
    """Change the caller's password, end all their other sessions and forget their other known devices."""
    await change_password(
        caller,
        SealedPassword(body.old_password, body.kid),
        SealedPassword(body.new_password, body.kid),
        device=device,
    )
    return Envelope(data=None)
