"""Connects a command to servers: the configured ones, those of a running `portico run`, or temporary ones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import bootstrap
from application.ports.health import Probe
from application.use_cases.health import CheckReadiness
from bootstrap import Container
from entrypoints.cli import console
from entrypoints.cli.errors import DependencyDown
from entrypoints.server_addresses import as_overrides, unconfigured
from local_stack.lock import locked
from local_stack.stack import SERVERS, local_stack, running_stack

PATIENCE = 30.0
"""Seconds to wait for servers that do not answer."""
REQUIRED = frozenset({"postgres", "redis"})
"""Those that every request needs."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_WORTH_A_WORD = 1.0
# The first check of a process is slow: it imports the clients.
_ANSWER_WITHIN = timedelta(seconds=10)


@asynccontextmanager
async def connected(*, patience: float, **overrides: Any) -> AsyncIterator[Container]:  # noqa: ANN401 - as `load_settings`
    """Yield the container of the settings once PostgreSQL answers; raise `UnsafeSettings` or `DependencyDown`."""
    settings = bootstrap.load_settings(**overrides)
    async with AsyncExitStack() as stack:
        if missing := unconfigured(settings):
            variables = running_stack(settings.data_dir)
            if variables is None:
                console.say("Starting servers for this command…")
                lock = await stack.enter_async_context(locked(settings.data_dir))
                servers = await stack.enter_async_context(
                    local_stack(settings.data_dir, lock, start=missing)
                )
                variables = servers.variables
            settings = bootstrap.load_settings(**overrides, **as_overrides(variables, missing))
        container = await stack.enter_async_context(bootstrap.running(bootstrap.build(settings)))
        await wait_for(container, {"postgres"}, patience=patience)
        yield container


async def wait_for(
    container: Container,
    names: Collection[str] = SERVERS,
    *,
    others: Iterable[Probe] = (),
    patience: float = PATIENCE,
    report: Callable[[str], None] = console.say,
) -> None:
    """Wait until the named servers and `others` answer, with growing pauses between attempts.

    Raise `DependencyDown` after `patience` s.
    """
    # On a busy machine, a slow answer means "not yet", as long as there is patience.
    longest = max(_ANSWER_WITHIN, timedelta(seconds=patience))
    check = CheckReadiness(
        probes=[*(probe for probe in container.probes() if probe.name in names), *others],
        clock=container.clock(),
        cached_for=timedelta(0),
        timeout=longest,
        grace=longest,
    )
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + patience, _FIRST_PAUSE
    while (readiness := await check()).reasons:
        if loop.time() >= end:
            raise DependencyDown(readiness.reasons)
        if pause >= _WORTH_A_WORD:
            reasons = "; ".join(f"{name}: {why}" for name, why in readiness.reasons.items())
            names_down = ", ".join(readiness.reasons)
            report(f"No answer from {names_down} yet; asking again ({reasons})")
        await asyncio.sleep(min(pause, max(end - loop.time(), 0)))
        pause = min(pause * 2, _LONGEST_PAUSE)
