"""The settings, the metrics and the container (on the event loop) of a worker or a beat."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

import bootstrap
from application.ports.metrics import UNMEASURED, Metrics
from application.setting_problems import Problem, UnsafeSettings, problems_of
from application.settings import Settings, Stores
from bootstrap import Container
from entrypoints.celery.asynchronous.resources import Resource
from entrypoints.server_addresses import settings_here


@cache
def process_settings() -> Settings:
    """Return the settings, read once, with the addresses of a running local stack; raise `UnsafeSettings`."""
    settings, _ = settings_here()
    problems = problems_of(settings)
    if settings.stores is Stores.MEMORY:
        problems = (*problems, Problem("PORTICO_STORES", "must be servers: memory has no broker"))
    if problems:
        raise UnsafeSettings(problems)
    return settings


@dataclass(slots=True)
class Measured:
    """What this process counts: nothing until it serves metrics. Processes of a pool inherit it from their worker."""

    metrics: Metrics = UNMEASURED


measured = Measured()


@Resource
@asynccontextmanager
async def container() -> AsyncIterator[Container]:
    """Open the container of this process."""
    built = bootstrap.build_without_keys(process_settings(), measured.metrics)
    async with bootstrap.running(built) as opened:
        yield opened
