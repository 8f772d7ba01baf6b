"""Log-in, the rotation of refresh tokens, devices, and log-out."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import NAMESPACE_URL, uuid5

from application.ports.identity import PasswordHasher
from application.ports.sessions import (
    LogInAttempt,
    LogInThrottle,
    PasswordTransport,
    RateLimiter,
    Reservation,
    SeenCiphertexts,
    SessionStore,
    Tokens,
    TransportKey,
)
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import SessionSettings, ThrottleSettings
from application.use_cases.caller import Caller, Origin
from application.use_cases.documents import RecordAudit
from domain.access import Role
from domain.documents import AuditId, AuditOutcome
from domain.errors import PorticoError
from domain.identity import Password, User, UserId
from domain.sessions import (
    AccessClaims,
    InvalidCredentials,
    InvalidToken,
    RefreshClaims,
    RotationOutcome,
    SealedPassword,
    Session,
    SessionCompromised,
    SessionId,
    SessionNotFound,
    Throttled,
    TokenId,
    fingerprint,
    is_fresh,
    network_of,
    parse_plaintext,
)

_MARGIN = timedelta(seconds=1)
"""What the clocks of two stores may drift apart in a few minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """A fresh access and refresh token, and how many seconds each will live."""

    access_token: str
    refresh_token: str
    expires_in: int
    refresh_expires_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """What a log-in gives."""

    tokens: TokenPair
    user: User
    roles: Sequence[Role]


@dataclass(frozen=True, slots=True)
class GetTransportKey:
    """Hand out the key under which a password is encrypted."""

    transport: PasswordTransport
    limiter: RateLimiter
    clock: Clock
    throttle: ThrottleSettings

    async def __call__(self, origin: Origin) -> TransportKey:
        """Raise `Throttled` when one address asks too often."""
        await self.limiter.hit(
            "transport-key", network_of(origin.address), self.throttle.public, now=self.clock.now()
        )
        return self.transport.public_key()


@dataclass(frozen=True, slots=True)
class GetPublicKeys:
    """Hand out the keys with which other services verify access tokens."""

    tokens: Tokens

    async def __call__(self) -> Sequence[Mapping[str, str]]:
        return self.tokens.public_keys()


@dataclass(frozen=True, slots=True)
class NoteKeysInUse:
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
                    Origin(address=""),
                    target=f"key:{key_id}",
                    details={"purpose": purpose},
                    entry_id=AuditId(uuid5(NAMESPACE_URL, f"urn:portico:key:{key_id}")),
                )
            await uow.commit()


@dataclass(frozen=True, slots=True)
class UnsealPassword:
    """Open a password that a client encrypted; accept each ciphertext once, and only fresh ones if so configured."""

    transport: PasswordTransport
    seen: SeenCiphertexts
    clock: Clock
    settings: SessionSettings

    async def __call__(self, sealed: SealedPassword) -> Password | None:
        """Return the password, or None for every reason there may be not to accept it."""
        opened = await self.transport.open(sealed)
        unsealed = parse_plaintext(opened.plaintext) if opened else None
        if opened is None or unsealed is None:
            return None
        window = self.settings.ciphertext_window
        if unsealed.sealed_at_ms is not None or self.settings.require_fresh_ciphertext:
            if not is_fresh(unsealed, self.clock.now(), window=window):
                return None
            # A clock may be `window` ahead as well as behind, so a copy stays fresh for twice as long.
            if not await self.seen.first_use(opened.digest, within=2 * window + _MARGIN):
                return None
        return unsealed.password


@dataclass(frozen=True, slots=True)
class IssueTokens:
    """Sign the pair that belongs to the present state of a session."""

    tokens: Tokens
    clock: Clock
    ids: IdGenerator
    settings: SessionSettings

    def __call__(self, session: Session) -> TokenPair:
        now = self.clock.now().replace(microsecond=0)
        access_expires_at = min(now + self.settings.access_lifetime, session.ends_at)
        refresh_expires_at = min(
            session.token_issued_at + self.settings.refresh_idle, session.ends_at
        )
        return TokenPair(
            access_token=self.tokens.issue_access(
                AccessClaims(
                    user_id=session.user_id,
                    session_id=session.id,
                    token_id=TokenId(self.ids.new()),
                    issued_at=now,
                    expires_at=access_expires_at,
                    authenticated_at=session.created_at,
                )
            ),
            # Everything in it comes from the session, so a repeated refresh signs the same token again.
            refresh_token=self.tokens.issue_refresh(
                RefreshClaims(
                    user_id=session.user_id,
                    session_id=session.id,
                    token_id=session.token_id,
                    issued_at=session.token_issued_at,
                    expires_at=refresh_expires_at,
                    fingerprint=session.fingerprint,
                )
            ),
            expires_in=int((access_expires_at - now).total_seconds()),
            refresh_expires_in=max(0, int((refresh_expires_at - now).total_seconds())),
        )


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """Find who has a name and a password, within the limits on guessing.

    Unknown, wrong, disabled and locked take the same path: one verification, one count, one error.
    """

    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    throttle: LogInThrottle
    clock: Clock
    audit: RecordAudit

    async def __call__(
        self,
        reservation: Reservation,
        password: Password | None,
        origin: Origin,
        *,
        noted_as: str = "sessions.log_in_failed",
    ) -> User:
        """Return the active user; raise `InvalidCredentials` after counting and noting the failure."""
        async with self.uow() as uow:
            user = await uow.users.find_by_login(reservation.attempt.name)
        believable = user is not None and password is not None and not reservation.locked
        # Verify even when nobody has this name, and even what could not be decrypted: otherwise
        # the response time tells an attacker which it was.
        matches = await self.hasher.verify(
            password or Password(""), user.password_hash if user and believable else None
        )
        if user is None or not matches or not user.is_active:
            if not reservation.locked:
                await self.throttle.failed(reservation, now=self.clock.now())
            await self._note_failure(noted_as, user, origin)
            raise InvalidCredentials
        return user

    async def _note_failure(self, action: str, user: User | None, origin: Origin) -> None:
        # Not the name: now and then somebody types the password into the wrong field.
        async with self.uow() as uow:
            await self.audit(
                uow,
                action,
                origin,
                target=f"user:{user.id}" if user else "",
                outcome=AuditOutcome.FAILURE,
            )
            await uow.commit()


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
        reservation = await self.throttle.reserve(
            LogInAttempt(name=name, address=origin.address, device=agent), now=self.clock.now()
        )
        opened = await self.unseal(password) if isinstance(password, SealedPassword) else password
        user = await self.check(reservation, opened, origin)
        rehashed = None
        if opened is not None and self.hasher.needs_rehash(user.password_hash):
            rehashed = await self.hasher.hash(opened)

        session = self._session(user, origin, agent)
        await self.store.open(session, idle=self.settings.refresh_idle, cap=self.settings.cap)
        # After the session is open, not before: whoever changes the password or disables the user in
        # this moment either ends this session or makes this update miss. None slips through.
        roles = await self._record(user, rehashed, session, origin)
        if roles is None:
            await self.store.end(user.id, session.id)
            raise InvalidCredentials
        await self.throttle.succeeded(reservation, now=self.clock.now())
        return LoggedIn(tokens=self.issue(session), user=user, roles=roles)

    def _session(self, user: User, origin: Origin, agent: str) -> Session:
        now = self.clock.now().replace(microsecond=0)
        return Session(
            id=SessionId(self.ids.new()),
            user_id=user.id,
            token_id=TokenId(self.ids.new()),
            token_issued_at=now,
            created_at=now,
            last_seen_at=now,
            ends_at=now + self.settings.refresh_absolute,
            fingerprint=agent,
            agent=(origin.agent or "")[:256],
            address=origin.address,
        )

    async def _record(
        self, user: User, rehashed: str | None, session: Session, origin: Origin
    ) -> Sequence[Role] | None:
        """Note the log-in and return the user's roles, or None if they may not log in any more."""
        try:
            async with self.uow() as uow:
                user.last_login_at = self.clock.now()
                recorded = await uow.users.record_login(
                    user.id, verified=user.password_hash, rehashed=rehashed, at=user.last_login_at
                )
                await self.audit(
                    uow,
                    "sessions.logged_in" if recorded else "sessions.log_in_failed",
                    origin,
                    actor=user.id if recorded else None,
                    target=f"session:{session.id}" if recorded else f"user:{user.id}",
                    outcome=AuditOutcome.SUCCESS if recorded else AuditOutcome.FAILURE,
                )
                roles = (await uow.roles.of_users([user.id])).get(user.id, ())
                await uow.commit()
        except PorticoError:
            await self.store.end(user.id, session.id)
            raise
        return roles if recorded else None


@dataclass(frozen=True, slots=True)
class RefreshSession:
    """Exchange a refresh token for a new pair."""

    uow: UnitOfWorkFactory
    tokens: Tokens
    store: SessionStore
    issue: IssueTokens
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit
    settings: SessionSettings
    throttle: ThrottleSettings

    async def __call__(self, refresh_token: str, origin: Origin) -> TokenPair:
        """Raise `InvalidToken`, `SessionCompromised` after ending the session, or `Throttled`."""
        shown = self.tokens.verify_refresh(refresh_token)
        async with self.uow() as uow:
            user = await uow.users.find(shown.user_id)
        if user is None or not user.is_active:
            await self.store.end(shown.user_id, shown.session_id)
            raise InvalidToken("the user is disabled or gone")
        rotation = await self.store.rotate(
            shown,
            successor=TokenId(self.ids.new()),
            fingerprint=fingerprint(origin.agent, self.settings.agent_binding),
            now=self.clock.now(),
            idle=self.settings.refresh_idle,
            grace=self.settings.refresh_grace,
            limit=self.throttle.refresh,
        )
        match rotation.outcome:
            case RotationOutcome.REUSED | RotationOutcome.AGENT_CHANGED:
                await self._note_theft(shown, rotation.outcome, origin)
                raise SessionCompromised(shown.user_id, shown.session_id, rotation.outcome)
            case RotationOutcome.THROTTLED:
                raise Throttled(rotation.retry_after)
            case RotationOutcome.UNKNOWN | RotationOutcome.ROTATED | RotationOutcome.REPEATED:
                if rotation.session is None:
                    raise InvalidToken("its session is over")
                return self.issue(rotation.session)

    async def _note_theft(
        self, shown: RefreshClaims, outcome: RotationOutcome, origin: Origin
    ) -> None:
        async with self.uow() as uow:
            await self.audit(
                uow,
                "sessions.compromised",
                origin,
                target=f"session:{shown.session_id}",
                outcome=AuditOutcome.FAILURE,
                details={"user": str(shown.user_id), "because": outcome.value},
            )
            await uow.commit()


@dataclass(frozen=True, slots=True)
class EndSessions:
    """End sessions of one user, and note who did it; the note exists exactly if they ended."""

    uow: UnitOfWorkFactory
    store: SessionStore
    audit: RecordAudit

    async def one(
        self, action: str, origin: Origin, *, actor: UserId, of: UserId, session_id: SessionId
    ) -> bool:
        """End one session; tell whether there was one."""
        async with self.uow() as uow:
            await self.audit(
                uow,
                action,
                origin,
                actor=actor,
                target=f"session:{session_id}",
                details={"user": str(of)},
            )
            ended = await self.store.end(of, session_id)
            if ended:
                await uow.commit()
        return ended

    async def all(self, action: str, origin: Origin, *, actor: UserId, of: UserId) -> int:
        """End all sessions; return how many."""
        async with self.uow() as uow:
            ended = await self.store.end_all(of)
            await self.audit(
                uow, action, origin, actor=actor, target=f"user:{of}", details={"sessions": ended}
            )
            await uow.commit()
        return ended


@dataclass(frozen=True, slots=True)
class LogOut:
    """End the session that a token belongs to. Ending an ended session is no error."""

    tokens: Tokens
    end: EndSessions

    async def __call__(
        self, origin: Origin, *, access_token: str | None, refresh_token: str | None
    ) -> None:
        """Take an access token, expired or not, or else a refresh token; raise `InvalidToken` if neither is ours."""
        claims = self._claims(access_token, refresh_token)
        await self.end.one(
            "sessions.logged_out",
            origin,
            actor=claims.user_id,
            of=claims.user_id,
            session_id=claims.session_id,
        )

    def _claims(
        self, access_token: str | None, refresh_token: str | None
    ) -> AccessClaims | RefreshClaims:
        if refresh_token is None:
            return self.tokens.verify_access(access_token or "", allow_expired=True)
        if access_token is not None:
            with suppress(InvalidToken):
                return self.tokens.verify_access(access_token, allow_expired=True)
        return self.tokens.verify_refresh(refresh_token)


@dataclass(frozen=True, slots=True)
class LogOutEverywhere:
    """End every session of the caller, this one included."""

    end: EndSessions

    async def __call__(self, caller: Caller) -> int:
        return await self.end.all(
            "sessions.logged_out_everywhere",
            caller.origin,
            actor=caller.user_id,
            of=caller.user_id,
        )


@dataclass(frozen=True, slots=True)
class ListSessions:
    """Show the caller where they are logged in."""

    store: SessionStore

    async def __call__(self, caller: Caller) -> Sequence[Session]:
        return await self.store.of_user(caller.user_id)


@dataclass(frozen=True, slots=True)
class EndSession:
    """End one session of the caller."""

    end: EndSessions

    async def __call__(self, caller: Caller, session_id: SessionId) -> None:
        if not await self.end.one(
            "sessions.ended",
            caller.origin,
            actor=caller.user_id,
            of=caller.user_id,
            session_id=session_id,
        ):
            raise SessionNotFound(session_id)
