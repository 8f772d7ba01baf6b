"""The public keys for clients and other services, and the audit record of active keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from application.ports.device_cookies import DeviceCookies
from application.ports.password_transport import PasswordTransport, TransportKey
from application.ports.rate_limiter import RateLimiter
from application.ports.tokens import Tokens
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import ThrottleSettings
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import ClientInfo
from domain.audit_log import AuditId


@dataclass(frozen=True, slots=True)
class GetTransportKey:
    """Get the public key with which clients encrypt passwords."""

    transport: PasswordTransport
    limiter: RateLimiter
    device_cookies: DeviceCookies
    throttle: ThrottleSettings

    async def __call__(self, client: ClientInfo, *, device: str | None = None) -> TransportKey:
        """Raise `Throttled` when one address, or one known device, asks too often.

        A log-in needs the key, so a known device has a bucket that others cannot empty.
        """
        device = device if self.device_cookies.is_ours(device) else None
        await self.limiter.hit("transport-key", client.address, self.throttle.public, device=device)
        return self.transport.public_key()


@dataclass(frozen=True, slots=True)
class GetPublicKeys:
    """Get the keys with which other services verify access tokens."""

    tokens: Tokens

    async def __call__(self) -> Sequence[Mapping[str, str]]:
        return self.tokens.public_keys()


@dataclass(frozen=True, slots=True)
class RecordActiveKeys:
    """Record the active keys in the audit log: each key once, even if many processes start with it."""

    uow: UnitOfWorkFactory
    audit: RecordAudit
    keys: Mapping[str, str]
    """The id of the active key of each purpose."""

    async def __call__(self) -> None:
        async with self.uow() as uow:
            for purpose, key_id in self.keys.items():
                await self.audit(
                    uow,
                    "keys.in_use",
                    ClientInfo(address=""),
                    target=f"key:{key_id}",
                    details={"purpose": purpose},
                    entry_id=AuditId(uuid5(NAMESPACE_URL, f"urn:portico:key:{key_id}")),
                )
            await uow.commit()
