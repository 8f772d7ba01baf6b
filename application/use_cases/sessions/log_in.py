"""Log-in: a name and a password for a session."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports.identity import PasswordHasher
from application.ports.sessions import LogInAttempt, LogInThrottle, Opened, SessionStore
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import SessionSettings
from application.use_cases.caller import Origin
from application.use_cases.documents import RecordAudit
from application.use_cases.sessions.passwords import CheckPassword, UnsealPassword
from application.use_cases.sessions.tokens import IssueTokens, TokenPair
from domain.access import Role
from domain.documents import AuditOutcome
from domain.errors import PorticoError
from domain.identity import Password, User
from domain.sessions import (
    InvalidCredentials,
    NewSession,
    SealedPassword,
    SessionId,
    TokenId,
    fingerprint,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """What a log-in gives."""

    tokens: TokenPair
    user: User
    roles: Sequence[Role]


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
    audit: RecordAudit
    settings: SessionSettings

    async def __call__(
        self, name: str, password: SealedPassword | Password, origin: Origin
    ) -> LoggedIn:
        """Raise `Throttled` before any costly work, `InvalidCredentials` after it.

        A password in clear comes from the log-in form of the docs page alone.
        """
        agent = fingerprint(origin.agent, self.settings.agent_binding)
        async with self.uow() as uow:
            user_id = await uow.users.id_of_login(name)
        reservation = await self.throttle.reserve(
            LogInAttempt(name=name, user_id=user_id, address=origin.address, device=agent)
        )
        opened = await self.unseal(password) if isinstance(password, SealedPassword) else password
        user = await self.check(reservation, opened, origin)
        rehashed = None
        if opened is not None and self.hasher.needs_rehash(user.password_hash):
            rehashed = await self.hasher.hash(opened)

        opened_session = await self.store.open(
            self._session(user, origin, agent),
            idle=self.settings.refresh_idle,
            absolute=self.settings.refresh_absolute,
            cap=self.settings.cap,
        )
        session = opened_session.session
        # After the session is open, not before: whoever changes the password or disables the user in
        # this moment either ends this session or makes this update miss. None slips through.
        roles = await self._record(user, rehashed, opened_session, origin)
        if roles is None:
            await self.store.end(user.id, session.id)
            raise InvalidCredentials
        await self.throttle.succeeded(reservation)
        return LoggedIn(tokens=self.issue(session), user=user, roles=roles)

    def _session(self, user: User, origin: Origin, agent: str) -> NewSession:
        return NewSession(
            id=SessionId(self.ids.new()),
            user_id=user.id,
            token_id=TokenId(self.ids.new()),
            valid_from=user.sessions_valid_from,
            fingerprint=agent,
            agent=(origin.agent or "")[:256],
            address=origin.address,
        )

    async def _record(
        self,
        user: User,
        rehashed: str | None,
        opened: Opened,
        origin: Origin,
    ) -> Sequence[Role] | None:
        """Note the log-in and return the user's roles, or None if they may not log in any more."""
        session, ended = opened.session, opened.ended
        try:
            async with self.uow() as uow:
                user.last_login_at = self.clock.now()
                recorded = await uow.users.record_login(
                    user, rehashed=rehashed, at=user.last_login_at
                )
                await self.audit(
                    uow,
                    "sessions.logged_in" if recorded else "sessions.log_in_failed",
                    origin,
                    actor=user.id if recorded else None,
                    target=f"user:{user.id}",
                    outcome=AuditOutcome.SUCCESS if recorded else AuditOutcome.FAILURE,
                    details={
                        **({"session": str(session.id)} if recorded else {}),
                        **({"ended": [str(session_id) for session_id in ended]} if ended else {}),
                    },
                )
                roles = (await uow.roles.of_users([user.id])).get(user.id, ())
                await uow.commit()
        except PorticoError:
            await self.store.end(user.id, session.id)
            raise
        return roles if recorded else None
