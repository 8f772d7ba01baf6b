"""Documents: what is written once and read by time or by key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.identity import UserId

AuditId = NewType("AuditId", UUID)


class AuditOutcome(StrEnum):
    """Whether what was tried was done."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, on what, from where, when, and with what result. Never changed, never holds a secret."""

    id: AuditId
    at: datetime
    action: str
    """In the form `users.disabled`: the capability, and what happened."""
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    actor: UserId | None = None
    """None: nobody who is known, or the system itself."""
    target: str = ""
    """In the form `user:<id>`."""
    address: str = ""
    agent: str = ""
    request_id: str = ""
    details: Mapping[str, object] = field(default_factory=dict)
    """JSON values."""
