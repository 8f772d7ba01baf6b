"""The rotation of refresh tokens."""

from contextlib import suppress
from dataclasses import dataclass

from application.metrics import REFRESHES, counted
from application.ports.metrics import Metrics
from application.ports.sessions import SessionStore
from application.ports.system import IdGenerator
from application.ports.tokens import Tokens
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import SessionSettings, ThrottleSettings
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import ClientInfo
from application.use_cases.sessions.tokens import IssueTokens, TokenPair
from domain.audit_log import AuditOutcome
from domain.errors import Unavailable
from domain.log_in_throttle import Throttled
from domain.sessions import (
    InvalidToken,
    RefreshClaims,
    RotationOutcome,
    SessionCompromised,
    TokenId,
    fingerprint,
)


@dataclass(frozen=True, slots=True)
class RefreshSession:
    """Exchange a refresh token for a new pair."""

    uow: UnitOfWorkFactory
    tokens: Tokens
    store: SessionStore
    issue: IssueTokens
    ids: IdGenerator
    audit: RecordAudit
    metrics: Metrics
    settings: SessionSettings
    throttle: ThrottleSettings

    def verify(self, refresh_token: str) -> None:
        """Raise `InvalidToken`, and count it, if a token is not ours or has expired. No server is asked."""
        try:
            self.tokens.verify_refresh(refresh_token)
        except InvalidToken as refusal:
            self.metrics.count(REFRESHES, refusal.code)
            raise

    async def __call__(self, refresh_token: str, client: ClientInfo) -> TokenPair:
        """Raise `InvalidToken`, `SessionCompromised` after ending the session, or `Throttled`."""
        with counted(self.metrics, REFRESHES):
            return await self._refresh(refresh_token, client)

    async def _refresh(self, refresh_token: str, client: ClientInfo) -> TokenPair:
        shown = self.tokens.verify_refresh(refresh_token)
        async with self.uow() as uow:
            user = await uow.users.find(shown.user_id)
        if user is None or not user.is_active:
            await self.store.end(shown.user_id, shown.session_id)
            raise InvalidToken("the user is disabled or gone")
        rotation = await self.store.rotate(
            shown,
            successor=TokenId(self.ids.new()),
            fingerprint=fingerprint(client.agent, self.settings.agent_binding),
            valid_from=user.sessions_valid_from,
            idle=self.settings.refresh_idle,
            grace=self.settings.refresh_grace,
            limit=self.throttle.refresh,
        )
        match rotation.outcome:
            case RotationOutcome.REUSED | RotationOutcome.AGENT_CHANGED:
                with suppress(
                    Unavailable
                ):  # recorded or not, the session is over, and that is the answer
                    await self._record_theft(shown, rotation.outcome, client)
                raise SessionCompromised(shown.user_id, shown.session_id, rotation.outcome)
            case RotationOutcome.THROTTLED:
                raise Throttled(rotation.retry_after)
            case RotationOutcome.UNKNOWN | RotationOutcome.ROTATED | RotationOutcome.REPEATED:
                if rotation.session is None:
                    raise InvalidToken("its session is over")
                return self.issue(rotation.session)

    async def _record_theft(
        self, shown: RefreshClaims, outcome: RotationOutcome, client: ClientInfo
    ) -> None:
        async with self.uow() as uow:
            await self.audit(
                uow,
                "sessions.compromised",
                client,
                target=f"user:{shown.user_id}",
                outcome=AuditOutcome.FAILURE,
                details={"session": str(shown.session_id), "because": outcome.value},
            )
            await uow.commit()
