"""Authentication and authorization: when a request arrives, and again when it changes something."""

from contextlib import suppress
from dataclasses import dataclass, replace

from application.metrics import GUARD_REFUSALS
from application.ports.access_cache import AccessCache
from application.ports.access_versions import AccessVersions
from application.ports.metrics import UNMEASURED, Metrics
from application.ports.sessions import SessionStore
from application.ports.tokens import Tokens
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.caller import Caller, ClientInfo
from domain.access import Access, PermissionDenied
from domain.errors import PorticoError, Unavailable
from domain.identity import PasswordChangeRequired, UserId
from domain.sessions import InvalidToken, SessionId


@dataclass(frozen=True, slots=True)
class Guard:
    """Authenticate the caller of a request and check their permission.

    A cached request costs one fetch of the versions and no SQL. A cached access is used only under the version
    that the fetch returned, so a change applies from the next request on: `AccessVersions` has the proof.
    """

    uow: UnitOfWorkFactory
    tokens: Tokens
    store: SessionStore
    versions: AccessVersions
    cache: AccessCache
    metrics: Metrics = UNMEASURED

    async def __call__(
        self,
        access_token: str,
        client: ClientInfo,
        *,
        permission: str | None = None,
        accepts_one_time_password: bool = False,
    ) -> Caller:
        """Return the caller of a route that requires `permission`, or only a session if that is None.

        Raise `InvalidToken` unless the token is valid, its session lives and its user is active;
        `PasswordChangeRequired` if a one-time password is still in use; `PermissionDenied` if no active role of
        the user grants the permission.
        """
        try:
            claims = self.tokens.verify_access(access_token)
            caller = Caller(
                user_id=claims.user_id,
                session_id=claims.session_id,
                access=await self._access(claims.user_id, claims.session_id),
                client=client,
                permission=permission,
                accepts_one_time_password=accepts_one_time_password,
            )
            _check(caller)
        except PorticoError as error:
            self.metrics.count(GUARD_REFUSALS, error.code)
            raise
        return caller

    async def with_refresh_token(self, refresh_token: str, client: ClientInfo) -> Caller:
        """Return the caller of a refresh token without rotating it.

        Raise `InvalidToken` unless it is the current token of a living session and its user is active.
        """
        claims = self.tokens.verify_refresh(refresh_token)
        session = await self.store.find(claims.user_id, claims.session_id)
        if session is None or session.token_id != claims.token_id:
            raise InvalidToken("it has a successor, or its session is over")
        access = await self._access(claims.user_id, claims.session_id)
        return Caller(
            user_id=claims.user_id, session_id=claims.session_id, access=access, client=client
        )

    async def _access(self, user_id: UserId, session_id: SessionId) -> Access:
        snapshot = await self.versions.fetch(user_id, session_id)
        if not snapshot.session_alive:
            raise InvalidToken("its session is over")
        if snapshot.stable:
            access = await self._from_cache(user_id, snapshot.version)
        else:
            access = await self._read(user_id)
        return _of_active(access)

    async def _from_cache(self, user_id: UserId, version: str) -> Access | None:
        access = await self.cache.get(user_id, version)
        if access is None:
            access = await self._read(user_id)
            if access is not None:
                with suppress(Unavailable):  # for example out of memory
                    await self.cache.put(user_id, version, access)
        return access

    async def _read(self, user_id: UserId) -> Access | None:
        async with self.uow() as uow:
            return await uow.roles.access_of(user_id)


@dataclass(frozen=True, slots=True)
class Authorize:
    """Check again, within a unit of work, that the caller still has the permission.

    Since the guard's check the request may have waited for a body, a hash, a connection or a lock. So every change
    takes these steps: hash; open the unit of work; `lock_access`; lock what is changed; authorize; decide by the
    access that this returns; change; commit. No access changes between the lock and the commit, and nothing waits
    between this check and the change.
    """

    versions: AccessVersions

    async def __call__(self, uow: UnitOfWork, caller: Caller) -> Caller:
        """Return the caller with their current access.

        Raise the errors of the guard: `InvalidToken`, `PasswordChangeRequired` or `PermissionDenied`.
        """
        snapshot = await self.versions.fetch(caller.user_id, caller.session_id)
        if not snapshot.session_alive:
            raise InvalidToken("its session is over")
        present = replace(caller, access=_of_active(await uow.roles.access_of(caller.user_id)))
        _check(present)
        return present


def _of_active(access: Access | None) -> Access:
    if access is None or not access.is_active:
        raise InvalidToken("the user is disabled or gone")
    return access


def _check(caller: Caller) -> None:
    if caller.access.must_change_password and not caller.accepts_one_time_password:
        raise PasswordChangeRequired(caller.user_id)
    if caller.permission is not None and not caller.access.allows(caller.permission):
        raise PermissionDenied(caller.permission, caller.user_id)
