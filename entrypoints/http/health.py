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
    """The dependencies that answer: all of them."""

    up: list[str] = Field(examples=[["postgres", "redis", "mongo", "s3"]])


@router.get("/livez", dependencies=[PublicRoute])
async def check_liveness() -> Envelope[None]:
    """Say that the process answers."""
    return Envelope(data=None)


@router.get("/readyz", dependencies=[PublicRoute])
async def check_readiness(check_readiness: CheckReadinessDep) -> Envelope[ReadinessBody]:
    """Say whether every dependency answers; the answer is at most a second old."""
    readiness = await check_readiness()
    if not readiness.is_ready:
        _log.warning("not ready", down=readiness.down, reasons=readiness.reasons)
        raise NotReady(readiness.down)
    return Envelope(data=ReadinessBody(up=list(readiness.up)))
