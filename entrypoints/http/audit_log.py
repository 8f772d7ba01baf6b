"""The audit log: which actions happened, who did them, and from which address."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from application.ports.audit_log import AuditFilter
from application.use_cases.audit_log import ListAudit, ListOwnActivity
from domain.audit_log import AuditOutcome
from entrypoints.http.envelope import ApiModel, Envelope, MayBeLeftOut, Text
from entrypoints.http.paging import Slice, SliceQuery
from entrypoints.http.query_types import Instant
from entrypoints.http.router import Router
from entrypoints.http.security import AuthenticatedRoute, CallerDep, GuardedRoute
from entrypoints.wiring import UseCase

router = Router()


class AuditQuery(SliceQuery):
    """Filters of the audit log; all of them must match."""

    actor: MayBeLeftOut[UUID] = Field(default=None, description="The user who did it.")
    concerned: MayBeLeftOut[UUID] = Field(
        default=None, description="The user who did it, or the user it was done to."
    )
    action: MayBeLeftOut[Text] = Field(
        default=None,
        description="An exact action, or a prefix that ends with a dot: `users.` finds `users.created`.",
    )
    target: MayBeLeftOut[Text] = Field(
        default=None, description="The object of the action, such as `user:<id>`."
    )
    outcome: MayBeLeftOut[AuditOutcome] = None
    since: MayBeLeftOut[Instant] = Field(default=None, description="Earliest time, inclusive.")
    until: MayBeLeftOut[Instant] = Field(default=None, description="Latest time, exclusive.")


class AuditEntryBody(ApiModel):
    """One action that happened or was attempted."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b25"])
    at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    action: str = Field(
        description="The action: its capability, a dot, and a verb.", examples=["users.changed"]
    )
    outcome: AuditOutcome = Field(examples=["success"])
    actor: UUID | None = Field(
        description="The user who did it; null if the user is unknown or it was the system.",
        examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"],
    )
    target: str = Field(
        description="The object of the action; empty if it is unknown.",
        examples=["user:0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b22"],
    )
    address: str = Field(
        description="The client's address; empty for the system and when hidden.",
        examples=["203.0.113.7"],
    )
    agent: str = Field(examples=["Mozilla/5.0 (X11; Linux x86_64)"])
    request_id: str = Field(
        description="The `X-Request-ID` of the response.",
        examples=["6f1c2a9e0b3d4f5a8c7e9d0b1a2f3c4d"],
    )
    details: Mapping[str, Any] = Field(
        description=(
            "Facts about this action. Large details are split over several entries: `part` is the number of this "
            "entry, `parts` is how many there are."
        ),
        examples=[{"status": {"from": "active", "to": "disabled"}}],
    )


@router.get("/audit", dependencies=[GuardedRoute])
async def list_audit(
    query: Annotated[AuditQuery, Query()], list_audit: UseCase[ListAudit]
) -> Envelope[Slice[AuditEntryBody]]:
    """List the entries of the audit log, newest first."""
    found = await list_audit(
        query.argument(AuditFilter), after=query.after(), limit=query.page_size
    )
    return Envelope(data=Slice.of(found, AuditEntryBody.present))


@router.get("/auth/activity", dependencies=[AuthenticatedRoute])
async def list_own_activity(
    query: Annotated[SliceQuery, Query()],
    caller: CallerDep,
    list_own_activity: UseCase[ListOwnActivity],
) -> Envelope[Slice[AuditEntryBody]]:
    """List the audit entries of the caller, newest first. Addresses of other users are hidden."""
    found = await list_own_activity(caller, after=query.after(), limit=query.page_size)
    return Envelope(data=Slice.of(found, AuditEntryBody.present))
