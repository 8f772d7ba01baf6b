"""What a process that runs tasks, or publishes them by schedule, has: settings, and a container on its event loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import bootstrap
from application.settings import Settings, UnsafeSettings
from bootstrap import Container
from entrypoints.celery.asynchronous.resources import Resource


@cache
def process_settings() -> Settings:
    """Return the settings of the environment, read once; raise `UnsafeSettings`."""
    settings = bootstrap.load_settings()
    if problems := settings.problems():
        raise UnsafeSettings(problems)
    return settings


@Resource
@asynccontextmanager
async def container() -> AsyncIterator[Container]:
    """Open the container of this process."""
    async with bootstrap.running(bootstrap.build_without_keys(process_settings())) as opened:
        yield opened
