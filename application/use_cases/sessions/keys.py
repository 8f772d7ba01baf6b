"""The keys that clients and other services ask for, and the note of which are in use."""

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
from domain.documents import AuditId


@dataclass(frozen=True, slots=True)
class GetTransportKey:
    """Hand out the key under which a password is encrypted."""

    transport: PasswordTransport
    limiter: RateLimiter
    device_cookies: DeviceCookies
    throttle: ThrottleSettings

    async def __call__(self, client: ClientInfo, *, device: str | None = None) -> TransportKey:
        """Raise `Throttled` when one address, or one device that has logged in before, asks too often.

        Without the key nobody logs in, so a device that others cannot lock out must not lack it because of them.
        """
        device = device if self.device_cookies.is_ours(device) else None
        await self.limiter.hit("transport-key", client.address, self.throttle.public, device=device)
        return self.transport.public_key()


@dataclass(frozen=True, slots=True)
class GetPublicKeys:
    """Hand out the keys with which other services verify access tokens."""

    tokens: Tokens

    async def __call__(self) -> Sequence[Mapping[str, str]]:
        return self.tokens.public_keys()


@dataclass(frozen=True, slots=True)
class RecordActiveKeys:
    """Note the keys that this process signs and decrypts with; each once, however many processes start with it."""

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
