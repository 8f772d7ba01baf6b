"""`portico run`: starts and supervises all processes of one machine."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.importer import import_from_string

import bootstrap
from application.ports.system import MigrationsRefused, Schema
from application.settings import Environment, HttpSettings, Settings, Stores
from domain.errors import Unavailable
from entrypoints.cli import banner, code, console
from entrypoints.cli.api import APPLICATION, options
from entrypoints.cli.code import Code
from entrypoints.cli.connection import wait_for
from entrypoints.cli.errors import NotReady, PortTaken, ProcessEnded
from entrypoints.cli.liveness import reachable_host
from entrypoints.cli.supervision import SupervisedProcess
from entrypoints.heartbeat import heartbeats
from entrypoints.server_addresses import as_overrides, unconfigured
from local_stack.children import Child, Spec
from local_stack.lock import locked
from local_stack.probe import probe
from local_stack.servers import choose_ports, is_free
from local_stack.stack import SERVERS, Running, local_stack

_ORPHAN_SIGNALS = {
    # The worker must stop its pool processes at once: no client waits for their tasks any more.
    "worker": signal.SIGQUIT,
    "beat": signal.SIGTERM,
}

_PORTICO = (sys.executable, "-m", "entrypoints.cli.app")

_READY_WITHIN = 120.0
_ASK_AGAIN_AFTER = 1.0
_MARGIN = 5.0
"""Seconds that a process has to stop, in addition to the time for its running requests."""


def run(*, reload: bool | None, json: bool) -> None:
    """Start everything, say where it is, and supervise it until a signal says stop, or a part of it ends.

    `reload`: whether processes start anew when the code changes; by default in LOCAL, where the code is one's own.
    Nothing is left running when this returns or raises. Raise `UnsafeSettings`, `AlreadyRunning`,
    `PortTaken`, `ServerFailed`, `WheelMissing`, `DependencyDown`, `ProcessEnded` or `NotReady`.
    """
    console.say("Portico is starting…")
    if not bootstrap.names_environment():
        # Only this command is meant for a developer's machine.
        os.environ["ENVIRONMENT"] = Environment.LOCAL  # noqa: TID251 - written for `adapters.environment`, not read
    with suppress(asyncio.CancelledError):
        asyncio.run(_run(reload=reload, json=json))
    # A garbage collection would take longer than the stop itself.
    gc.freeze()


async def _run(*, reload: bool | None, json: bool) -> None:
    _cancel_on_signals()
    settings = bootstrap.load_settings()
    if reload is None:
        reload = settings.environment is Environment.LOCAL and code.is_checkout()
    if settings.stores is Stores.MEMORY and reload:
        await _run_with_reload(settings, json=json)
        return
    async with locked(settings.data_dir) as lock:
        port = _free_port(settings.http)
        if settings.stores is Stores.MEMORY:
            await _run_in_this_process(bootstrap.load_settings(http_port=port), json=json)
        else:
            await _run_processes(settings, port, lock, reload=reload, json=json)


_ABSENT = {
    "mongo": (
        "  mongo is missing: there is no server for this Python. Audit entries wait in PostgreSQL, and GET /audit "
        "answers 503, until PORTICO_MONGO_URL is set (or: make run PYTHON=python3.13)"
    )
}


# --- on servers ---------------------------------------------------------------------------------


async def _run_processes(
    settings: Settings, port: int, lock: int, *, reload: bool, json: bool
) -> None:
    missing = unconfigured(settings)
    async with local_stack(
        settings.data_dir,
        lock,
        start=missing,
        report=lambda name: console.say(f"  {name} is ready"),
    ) as servers:
        for name in servers.absent:
            console.say(_ABSENT[name])
        overrides = {"http_port": port, **as_overrides(servers.variables, missing)}
        settings = bootstrap.load_settings(**overrides)
        try:
            async with asyncio.TaskGroup() as watchers:
                for server in servers.servers.values():
                    watchers.create_task(_raise_when_dead(server))
                async with bootstrap.running(bootstrap.build(settings)) as container:
                    await wait_for(container, SERVERS - servers.absent)
                    console.say("  migrating the database")
                    await container.schema().upgrade()
                    credentials = await banner.credentials(container)
                own_code = Code(code.ROOT)
                if reload:
                    watchers.create_task(own_code.watch())
                api, *others = _processes(settings, overrides, lock)
                watchers.create_task(api.keep_running(own_code))
                watchers.create_task(_report_migration(container.schema(), api, own_code))
                await api.start_finished.wait()
                banner.show(settings, credentials, reload=reload, json=json)
                # Last, because users wait for the API, and each of them needs a core for seconds to load.
                for process in others:
                    watchers.create_task(process.keep_running(own_code, after=api))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None


async def _report_migration(schema: Schema, api: SupervisedProcess, own_code: Code) -> None:
    """Report it as a change when the schema becomes current for which the API could not start."""
    change = own_code.change
    while True:
        await asyncio.shield(change)
        change = own_code.change  # before anything is awaited, so that none is missed
        if await _is_current(schema):
            continue
        while not await _is_current(schema):  # noqa: ASYNC110 - another process migrates
            await asyncio.sleep(_ASK_AGAIN_AFTER)
        await api.start_finished.wait()
        if api.start_failed.is_set():
            own_code.report("the schema of the database")


async def _is_current(schema: Schema) -> bool:
    with suppress(MigrationsRefused, Unavailable):
        return await schema.is_current()
    return False


def _processes(
    settings: Settings, overrides: Mapping[str, object], lock: int
) -> Sequence[SupervisedProcess]:
    """Return the API, the worker and the beat: commands of `portico`."""
    environment = {
        **os.environ,  # noqa: TID251 - handed on to children, not read
        **{f"PORTICO_{name.upper()}": str(value) for name, value in overrides.items()},
    }
    # The API must stop its own worker processes, if it has several.
    api = signal.SIGTERM if settings.http.workers > 1 else signal.SIGKILL

    async def api_is_ready(_: Child) -> bool:
        return await _is_ready(settings.http)

    async def has_heartbeat(child: Child) -> bool:
        name = "beat" if child.name == "beat" else "worker celery"
        return any(pid == child.process.pid for pid, _ in heartbeats(settings.data_dir, name))

    return [
        SupervisedProcess(
            Spec(
                name=name,
                command=(*_PORTICO, name),
                environment=environment,
                orphan_signal=_ORPHAN_SIGNALS.get(name, api),
                inherited=(lock,),
            ),
            is_ready=api_is_ready if name == "api" else has_heartbeat,
            ready_within=_READY_WITHIN,
            stop_within=_stop_within(settings.http),
            output=sys.stderr.fileno(),
        )
        for name in ("api", "worker", "beat")
    ]


def _stop_within(http: HttpSettings) -> float:
    return ((http.drain or timedelta(0)) + http.stop_timeout).total_seconds() + _MARGIN


async def _raise_when_dead(server: Running) -> NoReturn:
    raise await server.died()


# --- in memory ----------------------------------------------------------------------------------


async def _run_with_reload(settings: Settings, *, json: bool) -> None:
    """Run everything in one child process. When the code changes, a new one replaces it, and all data is lost."""
    own_code = Code(code.ROOT)
    command = ("run", "--no-reload", *(("--json",) if json else ()))
    http = replace(settings.http, port=_free_port(settings.http))

    async def is_ready(_: Child) -> bool:
        return await _is_ready(http)

    process = SupervisedProcess(
        Spec(
            name="api",
            command=(*_PORTICO, *command),
            environment={**os.environ, "PORTICO_HTTP_PORT": str(http.port)},  # noqa: TID251 - handed on
            orphan_signal=signal.SIGTERM,
        ),
        is_ready=is_ready,
        ready_within=_READY_WITHIN,
        stop_within=_stop_within(settings.http),
        output=None,
    )
    try:
        async with asyncio.TaskGroup() as watchers:
            watchers.create_task(own_code.watch())
            watchers.create_task(process.keep_running(own_code))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


class _Server(uvicorn.Server):
    """A server that leaves the signals to its supervisor."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run_in_this_process(settings: Settings, *, json: bool) -> None:
    bootstrap.configure_logging(settings)
    container = bootstrap.build(settings)
    credentials = await banner.credentials(container)
    app = import_from_string(APPLICATION)(container=container)
    server = _Server(uvicorn.Config(app, **options(settings)))
    serving = asyncio.create_task(server.serve())
    becoming_ready = asyncio.create_task(_wait_until_ready(settings.http))
    try:
        await asyncio.wait({serving, becoming_ready}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise ProcessEnded("api", STARTUP_FAILURE)
        await becoming_ready
        banner.show(settings, credentials, reload=False, json=json)
        await asyncio.shield(serving)
    finally:
        becoming_ready.cancel()
        server.should_exit = True
        await serving


# --- for both -----------------------------------------------------------------------------------


def _cancel_on_signals() -> None:
    """Cancel the current task at a stop signal; at a second one, cancel its clean-up as well."""
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


async def _wait_until_ready(http: HttpSettings) -> None:
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                if await _is_ready(http):
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise NotReady("api", _READY_WITHIN) from None


async def _is_ready(http: HttpSettings) -> bool:
    host = reachable_host(http.host)
    request = f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    expected = b"HTTP/1.1 200"
    with suppress(OSError):
        return await probe(http.port, request, len(expected), host=host) == expected
    return False
