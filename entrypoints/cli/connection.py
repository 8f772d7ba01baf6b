"""How a command gets to servers: configured ones, else those of a running `portico run`, else its own for a while."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import bootstrap
from application.settings import Settings, Stores
from bootstrap import Container
from entrypoints.cli import console
from entrypoints.cli.errors import DependencyDown
from entrypoints.local.lock import locked
from entrypoints.local.stack import SERVERS, local_stack, running_stack

# Half a minute in all.
_PATIENCE = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


@asynccontextmanager
async def connected(**overrides: Any) -> AsyncIterator[Container]:  # noqa: ANN401 - as `load_settings`
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
        await answered(container, {"postgres"})
        yield container


def unconfigured(settings: Settings) -> frozenset[str]:
    """Return the servers without an address, where Portico may start its own: not when deployed."""
    if settings.stores is Stores.MEMORY or settings.environment.deployed:
        return frozenset()
    return frozenset(name for name in SERVERS if getattr(settings, name).url is None)


def as_overrides(variables: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return what `load_settings` must be told to use the named servers of a local stack."""
    prefixes = tuple(f"{name}_" for name in names)
    plain = {name.removeprefix("PORTICO_").lower(): value for name, value in variables.items()}
    return {name: value for name, value in plain.items() if name.startswith(prefixes)}


async def answered(container: Container, names: Collection[str] = SERVERS) -> None:
    """Wait until the named servers answer; raise `DependencyDown` after half a minute."""
    for seconds in (*_PATIENCE, None):
        readiness = await container.check_readiness()()
        down = set(readiness.down).intersection(names)
        if not down:
            return
        if seconds is None:
            raise DependencyDown(down)
        console.say(f"No answer from {', '.join(sorted(down))} yet; asking again in {seconds:g} s")
        await asyncio.sleep(seconds)
