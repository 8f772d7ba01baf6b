"""Sessions: their tokens, their rotation, and the errors about them."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.errors import NotFound, Unauthenticated
from domain.identity import UserId

SessionId = NewType("SessionId", UUID)
TokenId = NewType("TokenId", UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to open; the session store sets its times."""

    id: SessionId
    user_id: UserId
    token_id: TokenId
    """The refresh token that may be used next."""
    valid_from: datetime
    """The user's `sessions_valid_from` when they logged in; once it is later than that, the session is over."""
    fingerprint: str
    agent: str
    """The User-Agent as sent, cut to 256 characters; for people, never compared."""
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(NewSession):
    """One log-in on one device, until it ends, is ended, or is not refreshed for too long."""

    token_issued_at: datetime
    created_at: datetime
    last_seen_at: datetime
    ends_at: datetime
    """The absolute end, which no refresh moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessClaims:
    """The claims of an access token: user, session and times. No name, no role, no permission."""

    user_id: UserId
    session_id: SessionId
    token_id: TokenId
    issued_at: datetime
    expires_at: datetime
    authenticated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshClaims:
    """The claims of a refresh token. Equal claims signed with the same key give the same token."""

    user_id: UserId
    session_id: SessionId
    token_id: TokenId
    issued_at: datetime
    expires_at: datetime
    fingerprint: str


class RotationOutcome(StrEnum):
    """The result of showing a refresh token."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    """The previous token within the grace period: the same successor again."""
    REUSED = "reused"
    """An older token of a living session, so it was copied. The session was ended."""
    AGENT_CHANGED = "agent_changed"
    """Another kind of device. The session was ended."""
    UNKNOWN = "unknown"
    """No such session: ended, expired, or lost with its store."""
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The result of one atomic rotation; `session` contains the successor, if there is one."""

    outcome: RotationOutcome
    session: Session | None = None
    retry_after: timedelta = timedelta(0)


# --- the device -----------------------------------------------------------------------------


class AgentBinding(StrEnum):
    """How closely a refresh token is tied to the device that logged in."""

    FAMILY = "family"
    STRICT = "strict"


# First match wins. Our own short table, not a library's long one: a session must not end
# because a dependency learned to tell two browsers apart.
_BROWSERS = (
    ("edge", r"\bEdg(?:e|A|iOS)?/"),
    ("opera", r"\b(?:OPR|Opera)/"),
    ("samsung", r"\bSamsungBrowser/"),
    ("firefox", r"\b(?:Firefox|FxiOS)/"),
    ("chrome", r"\b(?:Chrome|CriOS|Chromium)/"),
    ("safari", r"\bVersion/.*\bSafari/"),
)
_SYSTEMS = (
    ("ios", r"\b(?:iPhone|iPad|iPod)\b"),
    ("android", r"\bAndroid\b"),
    ("windows", r"\bWindows\b"),
    ("macos", r"\bMac(?:intosh| OS X)\b"),
    ("chromeos", r"\bCrOS\b"),
    ("linux", r"\bLinux\b"),
)
_DEVICES = (("tablet", r"\b(?:iPad|Tablet)\b"), ("mobile", r"\b(?:Mobi\w*|iPhone|iPod)\b"))


def fingerprint(user_agent: str | None, binding: AgentBinding) -> str:
    """Return 32 hex digits that stand for the device class, or for the exact header if `binding` is strict.

    A point release of a browser keeps its fingerprint. A missing header is a class of its own. This detects theft
    but does not prevent it: a thief who can copy a token can copy a header.
    """
    if user_agent is None:
        device = "none"
    elif binding is AgentBinding.STRICT:
        device = f"exact {user_agent}"
    else:
        agent = user_agent[:1024]
        product = re.split(r"[/\s(]", agent, maxsplit=1)[0].casefold()
        device = " ".join(
            (
                _first(_BROWSERS, agent) or f"other {product}",
                _first(_SYSTEMS, agent) or "other",
                _first(_DEVICES, agent) or "desktop",
            )
        )
    return hashlib.sha256(device.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _first(table: tuple[tuple[str, str], ...], agent: str) -> str | None:
    return next((name for name, pattern in table if re.search(pattern, agent)), None)


# --- errors -----------------------------------------------------------------------------------


class InvalidCredentials(Unauthenticated):
    """Log-in failed. Unknown, wrong, disabled and locked give the same error."""

    code = "sessions.invalid_credentials"

    def __init__(self) -> None:
        super().__init__(
            "The name or the password is wrong. After several failures, wait a while before the next attempt."
        )


class InvalidToken(Unauthenticated):
    """The token is missing, malformed, forged, expired, or its session is over."""

    code = "sessions.invalid_token"

    def __init__(self, reason: str = "") -> None:
        super().__init__("The token is not valid, or its session is over; log in again")
        self.reason = reason
        """The reason, for the log only."""


class NotAuthenticated(Unauthenticated):
    """The request carries no token at all."""

    code = "sessions.not_authenticated"

    def __init__(self) -> None:
        super().__init__("Log in and send the access token as `Authorization: Bearer …`")


class SessionCompromised(Unauthenticated):
    """A refresh token was used twice, or on another device; its session was ended."""

    code = "sessions.session_compromised"

    def __init__(self, user_id: UserId, session_id: SessionId, outcome: RotationOutcome) -> None:
        super().__init__("The token is not valid, or its session is over; log in again")
        self.user_id = user_id
        self.session_id = session_id
        self.outcome = outcome


class SessionNotFound(NotFound):
    """The caller has no such session."""

    code = "sessions.session_not_found"

    def __init__(self, session_id: SessionId) -> None:
        super().__init__(f"There is no session {session_id}")
        self.session_id = session_id
