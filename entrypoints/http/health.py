"""Liveness and readiness probes."""

import structlog
from pydantic import Field
from starlette.requests import Request

from application.use_cases.health import CheckReadiness
from entrypoints.http.draining import Draining
from entrypoints.http.envelope import ApiModel, Envelope
from entrypoints.http.errors import NotReady
from entrypoints.http.router import Router
from entrypoints.http.security import PublicRoute
from entrypoints.wiring import UseCase

router = Router(tags=["health"])

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")


class ReadinessBody(ApiModel):
    """The dependencies that answer, and those that do not."""

    up: list[str] = Field(examples=[["postgres", "schema", "redis", "s3"]])
    degraded: list[str] = Field(
        description="Dependencies that do not answer, and that only some routes need.",
        examples=[["mongo"]],
    )


@router.get("/livez", dependencies=[PublicRoute])
async def check_liveness() -> Envelope[None]:
    """Return 200 while the process runs."""
    return Envelope(data=None)


@router.get("/readyz", dependencies=[PublicRoute])
async def check_readiness(
    request: Request, check_readiness: UseCase[CheckReadiness]
) -> Envelope[ReadinessBody]:
    """Return 200 if PostgreSQL, its schema and Redis are ready and the process is not draining, else 503.

    Other dependencies that do not answer are listed in `degraded`. The result is at most a second old.
    """
    draining: Draining = request.app.state.draining
    if draining.has_begun:
        raise NotReady(("draining",))
    readiness = await check_readiness()
    if not readiness.is_ready:
        _log.warning("not ready", down=readiness.down, reasons=readiness.reasons)
        raise NotReady(readiness.down)
    if readiness.degraded:
        _log.warning("degraded", down=readiness.degraded, reasons=readiness.reasons)
    return Envelope(data=ReadinessBody(up=list(readiness.up), degraded=list(readiness.degraded)))
