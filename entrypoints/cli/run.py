"""`portico run`: one supervisor for everything that a laptop needs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NoReturn

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.importer import import_from_string

import bootstrap
from application.settings import Environment, HttpSettings, Settings, Stores
from entrypoints.cli import announcement, console
from entrypoints.cli.api import APPLICATION, options
from entrypoints.cli.connection import answered
from entrypoints.cli.errors import NotReady, PortTaken, ProcessEnded
from entrypoints.local.addresses import as_overrides, unconfigured
from entrypoints.local.children import Child, Spec, spawn
from entrypoints.local.lock import locked
from entrypoints.local.servers import choose_ports, is_free
from entrypoints.local.stack import Running, local_stack
from entrypoints.local.wire import exchange

_PROCESSES = ("api", "worker", "beat")
"""What to start once the servers are there: the names of commands of `portico`."""
_ORPHAN_SIGNALS = {
    # Pool processes are its own to stop, at once: nobody is left to wait for their tasks.
    "worker": signal.SIGQUIT,
    "beat": signal.SIGTERM,
}

_PORTICO = (sys.executable, "-m", "entrypoints.cli.app")

_READY_WITHIN = 120.0
_MARGIN = 5.0
"""How many seconds a process may take to stop beyond the time that its requests in flight have."""


def run(*, json: bool) -> None:
    """Start everything, say where it is, and supervise it until a signal says stop, or a part of it ends.

    Nothing is left running when this returns or raises. Raise `UnsafeSettings`, `AlreadyRunning`,
    `PortTaken`, `ServerFailed`, `WheelMissing`, `DependencyDown`, `ProcessEnded` or `NotReady`.
    """
    console.say("Portico is starting…")
    if not bootstrap.names_environment():
        # Of all commands this one alone is for a machine of one's own.
        os.environ["ENVIRONMENT"] = Environment.LOCAL  # noqa: TID251 - written for `adapters.environment`, not read
    with suppress(asyncio.CancelledError):
        asyncio.run(_run(json=json))


async def _run(*, json: bool) -> None:
    _cancel_on_signals()
    settings = bootstrap.load_settings()
    async with locked(settings.data_dir) as lock:
        port = _free_port(settings.http)
        if settings.stores is Stores.MEMORY:
            await _run_in_this_process(bootstrap.load_settings(http_port=port), json=json)
        else:
            await _run_processes(settings, port, lock, json=json)


# --- on servers ---------------------------------------------------------------------------------


async def _run_processes(settings: Settings, port: int, lock: int, *, json: bool) -> None:
    missing = unconfigured(settings)
    async with local_stack(
        settings.data_dir,
        lock,
        start=missing,
        report=lambda name: console.say(f"  {name} is ready"),
    ) as servers:
        overrides = {"http_port": port, **as_overrides(servers.variables, missing)}
        settings = bootstrap.load_settings(**overrides)
        try:
            async with asyncio.TaskGroup() as watchers:
                for server in servers.servers.values():
                    watchers.create_task(_raise_when_died(server))
                async with bootstrap.running(bootstrap.build(settings)) as container:
                    await answered(container)
                    console.say("  migrating the database")
                    await container.schema().upgrade()
                    credentials = await announcement.credentials(container)
                async with _processes(settings, overrides, lock, watchers) as environment:
                    await _until_ready(settings.http)
                    for name in ("worker", "beat"):
                        await _until_checked(name, environment, lock)
                    announcement.announce(settings, credentials, json=json)
                    await asyncio.Event().wait()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None


@asynccontextmanager
async def _processes(
    settings: Settings, overrides: Mapping[str, object], lock: int, watchers: asyncio.TaskGroup
) -> AsyncIterator[Mapping[str, str]]:
    environment = {
        **os.environ,  # noqa: TID251 - handed on to children, not read
        **{f"PORTICO_{name.upper()}": str(value) for name, value in overrides.items()},
    }
    children: list[Child] = []
    watching: list[asyncio.Task[NoReturn]] = []
    try:
        # Several API workers are processes of its own, which it must stop.
        api = signal.SIGTERM if settings.http.workers > 1 else signal.SIGKILL
        for name in _PROCESSES:
            console.say(f"  starting {name}")
            spec = Spec(
                name=name,
                command=(*_PORTICO, name),
                environment=environment,
                orphan_signal=_ORPHAN_SIGNALS.get(name, api),
                inherited=(lock,),
            )
            child = await spawn(spec, output=sys.stderr.fileno())
            children.append(child)
            watching.append(watchers.create_task(_raise_when_ended(child)))
        yield environment
    finally:
        for watcher in watching:
            watcher.cancel()
        patience = settings.http.stop_timeout.total_seconds() + _MARGIN
        await asyncio.gather(*(child.stop(within=patience) for child in children))


async def _until_checked(name: str, environment: Mapping[str, str], lock: int) -> None:
    """Return once `portico <name> --check` says yes."""
    spec = Spec(
        name=name,
        command=(*_PORTICO, name, "--check"),
        environment=environment,
        inherited=(lock,),
    )
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                child = await spawn(spec, output=asyncio.subprocess.DEVNULL)
                try:
                    if await child.exited() == 0:
                        return
                finally:
                    await child.stop(within=0)
    except TimeoutError:
        raise NotReady(name, _READY_WITHIN) from None


async def _raise_when_died(server: Running) -> NoReturn:
    raise await server.died()


async def _raise_when_ended(child: Child) -> NoReturn:
    raise ProcessEnded(child.name, await child.exited())


# --- in memory ----------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """A server whose supervisor takes the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run_in_this_process(settings: Settings, *, json: bool) -> None:
    bootstrap.configure_logging(settings)
    container = bootstrap.build(settings)
    credentials = await announcement.credentials(container)
    app = import_from_string(APPLICATION)(container=container)
    server = _Server(uvicorn.Config(app, **options(settings)))
    serving = asyncio.create_task(server.serve())
    becoming_ready = asyncio.create_task(_until_ready(settings.http))
    try:
        await asyncio.wait({serving, becoming_ready}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise ProcessEnded("api", STARTUP_FAILURE)
        await becoming_ready
        announcement.announce(settings, credentials, json=json)
        await asyncio.shield(serving)
    finally:
        becoming_ready.cancel()
        server.should_exit = True
        await serving


# --- what both have -----------------------------------------------------------------------------


def _cancel_on_signals() -> None:
    """Cancel the current task at a signal that says stop; at the second one, cancel its clean-up as well."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        if task is not None:
            task.cancel()
        with suppress(OSError):  # the terminal may be gone
            console.say("Stopping…")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) wants it
            loop.add_signal_handler(number, stop)


def _free_port(http: HttpSettings) -> int:
    if http.port == 0:
        return choose_ports(("http",), {})["http"]
    if not is_free(http.port, http.host):
        raise PortTaken(http.host, http.port)
    return http.port


async def _until_ready(http: HttpSettings) -> None:
    host = announcement.reachable_host(http)
    request = f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    expected = b"HTTP/1.1 200"
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                with suppress(OSError):
                    if await exchange(http.port, request, len(expected), host=host) == expected:
                        return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise NotReady("api", _READY_WITHIN) from None
