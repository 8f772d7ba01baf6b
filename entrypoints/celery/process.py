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
from entrypoints.tracing import Traces, follow_servers


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
    """What an operator sees of this process."""

    metrics: Metrics = UNMEASURED
    """Nothing until it serves metrics. Processes of a pool inherit it from their worker."""
    has_traces: bool = False
    """Whether tasks are traced. Processes of a pool inherit it too."""
    traces: Traces | None = None
    """None until it runs a task."""


measured = Measured()


@Resource
@asynccontextmanager
async def container() -> AsyncIterator[Container]:
    """Open the container of this process."""
    built = bootstrap.build_without_keys(process_settings(), measured.metrics)
    if measured.traces is not None:
        follow_servers(measured.traces, built)
    async with bootstrap.running(built) as opened:
        yield opened
