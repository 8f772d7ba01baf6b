"""Whether the process lives, and whether it can do its work."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends
from pydantic import Field

from application.use_cases.health import CheckReadiness
from bootstrap import Container
from entrypoints.http.envelope import ApiModel, Envelope
from entrypoints.http.errors import NotReady
from entrypoints.http.security import PublicRoute
from entrypoints.http.wiring import use_case

router = APIRouter(tags=["health"])

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")

CheckReadinessDep = Annotated[CheckReadiness, Depends(use_case(Container.check_readiness))]


class ReadinessBody(ApiModel):
    """The dependencies that answer, and those that do not."""

    up: list[str] = Field(examples=[["postgres", "schema", "redis", "s3"]])
    degraded: list[str] = Field(
        description="Those that do not answer. Only a part of the service needs them; the rest goes on.",
        examples=[["mongo"]],
    )


@router.get("/livez", dependencies=[PublicRoute])
async def check_liveness() -> Envelope[None]:
    """Say that the process answers."""
    return Envelope(data=None)


@router.get("/readyz", dependencies=[PublicRoute])
async def check_readiness(check_readiness: CheckReadinessDep) -> Envelope[ReadinessBody]:
    """Say whether all that every request needs answers: PostgreSQL, its schema and Redis.

    What only a part of the service needs is named in `degraded`. The answer is at most a second old.
    """
    readiness = await check_readiness()
    if not readiness.is_ready:
        _log.warning("not ready", down=readiness.down, reasons=readiness.reasons)
        raise NotReady(readiness.down)
    if readiness.degraded:
        _log.warning("degraded", down=readiness.degraded, reasons=readiness.reasons)
    return Envelope(data=ReadinessBody(up=list(readiness.up), degraded=list(readiness.degraded)))
