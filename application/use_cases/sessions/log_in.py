"""Log-in with a name and a password."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from application.metrics import LOG_INS, counted
from application.ports.device_cookies import DeviceCookies
from application.ports.log_in_throttle import LogInAttempt, LogInThrottle, Reservation
from application.ports.metrics import Metrics
from application.ports.password_hasher import PasswordHasher
from application.ports.sessions import Opened, SessionStore
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import SessionSettings
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import ClientInfo
from application.use_cases.sessions.passwords import CheckPassword, UnsealPassword
from application.use_cases.sessions.tokens import IssueTokens, TokenPair
from domain.audit_log import AuditOutcome
from domain.errors import PorticoError, Unavailable
from domain.identity import Password, User
from domain.password_transport import SealedPassword
from domain.roles import Role
from domain.sessions import InvalidCredentials, NewSession, Session, SessionId, TokenId, fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """The result of a log-in."""

    tokens: TokenPair
    user: User
    roles: Sequence[Role]
    device_token: str | None = field(repr=False)
    """The token by which later log-ins know the device; None if it could not be stored."""


@dataclass(frozen=True, slots=True)
class LogIn:
    """Exchange a name and a password for a session and its first pair of tokens."""

    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    throttle: LogInThrottle
    unseal: UnsealPassword
    check: CheckPassword
    store: SessionStore
    issue: IssueTokens
    clock: Clock
    ids: IdGenerator
    device_cookies: DeviceCookies
    audit: RecordAudit
    metrics: Metrics
    settings: SessionSettings

    async def __call__(
        self,
        name: str,
        password: SealedPassword | Password,
        client: ClientInfo,
        *,
        device: str | None = None,
    ) -> LoggedIn:
        """Raise `Throttled` before any costly work, `InvalidCredentials` after it.

        `device` is the token from an earlier log-in of this device, if it sends one. Only the log-in form of the docs
        page sends a password that is not encrypted.
        """
        with counted(self.metrics, LOG_INS):
            return await self._log_in(name, password, client, device)

    async def _log_in(
        self,
        name: str,
        password: SealedPassword | Password,
        client: ClientInfo,
        device: str | None,
    ) -> LoggedIn:
        async with self.uow() as uow:
            found = await uow.users.find_account(name)
        reservation = await self.throttle.reserve(
            LogInAttempt(name=name, user_id=found.user_id, address=client.address, device=device)
        )
        opened = await self.unseal(password) if isinstance(password, SealedPassword) else password
        user = await self.check(reservation, found.user(), opened, client)
        rehashed = None
        if opened is not None and self.hasher.needs_rehash(user.password_hash):
            rehashed = await self.hasher.hash(opened)

        opened_session = await self.store.open(
            self._session(user, client),
            idle=self.settings.refresh_idle,
            absolute=self.settings.refresh_absolute,
            cap=self.settings.sessions_per_user,
        )
        session = opened_session.session
        # After the session is open: a concurrent change of the password or status either ends this session or
        # makes this update find no row. In both cases the log-in has no effect.
        roles = await self._record(user, rehashed, opened_session, client)
        if roles is None:
            await self._abandon(session)
            raise InvalidCredentials
        return LoggedIn(
            tokens=self.issue(session),
            user=user,
            roles=roles,
            device_token=await self._record_success(reservation),
        )

    async def _record_success(self, reservation: Reservation) -> str | None:
        """Record the success in the throttle; return the token of the known device, if it could be stored.

        The session is open and the log-in recorded, so a failure here does not change the result of the log-in.
        """
        known = reservation.attempt.device if reservation.known_device else None
        token = known or self.device_cookies.new()
        try:
            await self.throttle.succeeded(reservation, device=token)
        except Unavailable:
            return known
        return token

    async def _abandon(self, session: Session) -> None:
        """End a session whose tokens were not handed out; if the store is down, the session expires by itself."""
        with suppress(Unavailable):
            await self.store.end(session.user_id, session.id)

    def _session(self, user: User, client: ClientInfo) -> NewSession:
        return NewSession(
            id=SessionId(self.ids.new()),
            user_id=user.id,
            token_id=TokenId(self.ids.new()),
            valid_from=user.sessions_valid_from,
            fingerprint=fingerprint(client.agent, self.settings.agent_binding),
            agent=client.shown_agent,
            address=client.address,
        )

    async def _record(
        self,
        user: User,
        rehashed: str | None,
        opened: Opened,
        client: ClientInfo,
    ) -> Sequence[Role] | None:
        """Record the log-in and return the user's roles, or None if they may not log in any more."""
        session = opened.session
        target = f"user:{user.id}"
        ended = {"ended": [str(session_id) for session_id in opened.ended]} if opened.ended else {}
        entry, *more = self.audit.entries(
            "sessions.logged_in",
            client,
            actor=user.id,
            target=target,
            details={"session": str(session.id), **ended},
        )
        try:
            async with self.uow() as uow:
                user.last_login_at = self.clock.now()
                roles = await uow.users.record_login(
                    user, rehashed=rehashed, at=user.last_login_at, entry=entry
                )
                if roles is not None:
                    for each in more:
                        await uow.outbox.add(each)
                else:
                    await self.audit(
                        uow,
                        "sessions.log_in_failed",
                        client,
                        target=target,
                        outcome=AuditOutcome.FAILURE,
                        details=ended,
                    )
                await uow.commit()
        except PorticoError:
            await self._abandon(session)
            raise
        self.audit.recorded.set()
        return roles
