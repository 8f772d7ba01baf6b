"""Who makes a request, and whether they may: when it arrives, and again when it changes something."""

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field, replace

from application.ports.access_cache import AccessCache
from application.ports.access_versions import AccessVersions
from application.ports.sessions import SessionStore
from application.ports.tokens import Tokens
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.caller import Caller, ClientInfo
from domain.access import Access, PermissionDenied
from domain.errors import Unavailable
from domain.identity import PasswordChangeRequired, UserId
from domain.sessions import InvalidToken, SessionId


@dataclass(slots=True)
class Guard:
    """Find out who makes a request, and whether they may. One per process.

    A warm request costs one look at the versions and no SQL. What this process remembers of a user counts
    only under the version that the look returned, so a change is in force at the next request everywhere:
    `AccessVersions` says why.
    """

    uow: UnitOfWorkFactory
    tokens: Tokens
    store: SessionStore
    versions: AccessVersions
    cache: AccessCache
    cache_size: int = 10_000
    _cached: OrderedDict[UserId, tuple[str, Access]] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    async def __call__(
        self,
        access_token: str,
        client: ClientInfo,
        *,
        permission: str | None = None,
        password_may_be_due: bool = False,
    ) -> Caller:
        """Return the caller of a route that needs `permission`, or none but a session.

        Raise `InvalidToken` unless the token is ours, its session lives and its user is active,
        `PasswordChangeRequired` if a one-time password is still in use, `PermissionDenied` if no active
        role of the user gives the permission.
        """
        claims = self.tokens.verify_access(access_token)
        caller = Caller(
            user_id=claims.user_id,
            session_id=claims.session_id,
            access=await self._access(claims.user_id, claims.session_id),
            client=client,
            permission=permission,
            password_may_be_due=password_may_be_due,
        )
        _check(caller)
        return caller

    async def with_refresh_token(self, refresh_token: str, client: ClientInfo) -> Caller:
        """Return whose refresh token it is, without using it up.

        Raise `InvalidToken` unless it is the one that its living session would rotate next, and its user is active.
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
        remembered_version, access = self._cached.get(user_id, ("", None))
        if access is not None and remembered_version == version:
            self._cached.move_to_end(user_id)
            return access
        access = await self.cache.get(user_id, version)
        if access is None:
            access = await self._read(user_id)
            if access is None:
                return None
            with suppress(Unavailable):  # too full to be written, say; this process knows now
                await self.cache.put(user_id, version, access)
        self._cached[user_id] = version, access
        self._cached.move_to_end(user_id)
        if len(self._cached) > self.cache_size:
            self._cached.popitem(last=False)
        return access

    async def _read(self, user_id: UserId) -> Access | None:
        async with self.uow() as uow:
            return await uow.roles.access_of(user_id)


@dataclass(frozen=True, slots=True)
class Authorize:
    """Decide within a unit of work that the caller still may do what the guard let them in for.

    Since then they may have waited: for a body, a hash, a connection, a lock. So every change takes these steps:
    hash; begin; `lock_access`; lock what is changed; authorize; decide by the access that this returns; change; commit.
    Nobody's roles, status or rights change between the lock and the commit, and nothing is waited for between
    this and the change.
    """

    versions: AccessVersions

    async def __call__(self, uow: UnitOfWork, caller: Caller) -> Caller:
        """Return the caller with the access that they have now.

        Raise what the guard raises: `InvalidToken`, `PasswordChangeRequired` or `PermissionDenied`.
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
    if caller.access.must_change_password and not caller.password_may_be_due:
        raise PasswordChangeRequired(caller.user_id)
    if caller.permission is not None and not caller.access.allows(caller.permission):
        raise PermissionDenied(caller.permission, caller.user_id)
