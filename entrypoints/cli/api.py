"""`portico api`: uvicorn with our settings."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from math import ceil
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

import bootstrap
from application.settings import Settings
from entrypoints.cli.connection import REQUIRED, wait_for
from entrypoints.cli.errors import MigrationsMissing, PortTaken
from entrypoints.server_addresses import as_overrides, unconfigured
from local_stack.servers import is_free
from local_stack.stack import running_stack

_log = logging.getLogger("portico.cli")
_STOP = {signal.SIGINT, signal.SIGTERM}

# By name: entrypoints do not know each other, and every worker process loads it for itself.
APPLICATION = "entrypoints.api_process:create_api"


def serve(*, host: str | None, port: int | None, workers: int | None, patience: float) -> None:
    """Serve until a signal says stop; raise `UnsafeSettings`, `PortTaken`, `DependencyDown` or `MigrationsMissing`."""
    # Before uvicorn handles it, and after a graceful stop, when uvicorn sends the signal to itself again.
    signal.signal(signal.SIGTERM, _end)
    given = {"http_host": host, "http_port": port, "http_workers": workers}
    overrides: dict[str, object] = {
        name: value for name, value in given.items() if value is not None
    }
    settings = bootstrap.load_settings(**overrides)
    missing = unconfigured(settings)
    if missing and (variables := running_stack(settings.data_dir)):
        overrides |= as_overrides(variables, missing)
        settings = bootstrap.load_settings(**overrides)
    bootstrap.configure_logging(settings)
    if settings.http.port and not is_free(settings.http.port, settings.http.host):
        raise PortTaken(settings.http.host, settings.http.port)
    # The application checks the same when it starts. But there uvicorn ignores signals, prints a traceback,
    # and restarts a failing worker for ever.
    asyncio.run(_ready(settings, patience))
    with ExitStack() as stack:
        if settings.http.workers > 1 or settings.metrics.dir is not None:
            shared = bootstrap.shared_directory(settings.metrics.dir, "api")
            overrides["metrics_dir"] = stack.enter_context(shared)
        export_to_environment(overrides)
        if settings.http.workers == 1:
            uvicorn.run(APPLICATION, factory=True, **options(settings))
            return
        config = uvicorn.Config(
            APPLICATION, factory=True, workers=settings.http.workers, **options(settings)
        )
        Supervisor(config, [config.bind_socket()]).run()


class Supervisor(Multiprocess):
    """uvicorn's, except that a signal to stop ends a restart too (SIGHUP): each process takes as long as it drains."""

    def restart_all(self) -> None:
        """Replace the processes one by one, until a signal says stop."""
        done = threading.Event()
        watching = threading.Thread(target=self._stop_on_signal, args=(done,))
        watching.start()
        try:
            super().restart_all()
        finally:
            done.set()
            watching.join()

    def _stop_on_signal(self, done: threading.Event) -> None:
        # Not in the handler of the signal, which may interrupt the code that holds the lock of the event.
        while not done.wait(0.1):
            if not _STOP.isdisjoint(self.signal_queue):
                self.should_exit.set()
                return


def options(settings: Settings) -> dict[str, Any]:
    """Return the options of uvicorn. The application handles logs, proxies and the server header itself."""
    return {
        "host": settings.http.host,
        "port": settings.http.port,
        "loop": "uvloop",
        "http": "entrypoints.http.protocol:TimeoutProtocol",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "ws": "entrypoints.socketio.protocol:WebSocketProtocol",
        "ws_max_size": settings.http.body_limit,
        # A compressor for each connection would take most of its memory.
        "ws_per_message_deflate": False,
        # Besides those of Engine.IO: only these reach a client that it has dropped, and that reads nothing.
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "server_header": False,
        "timeout_keep_alive": ceil(settings.http.keep_alive.total_seconds()),
        # A worker that replaces another one (SIGHUP) has this long to start.
        "timeout_worker_healthcheck": 60,
        "timeout_graceful_shutdown": ceil(settings.http.stop_timeout.total_seconds()),
    }


def export_to_environment(overrides: Mapping[str, object]) -> None:
    """Export settings to the environment, where worker processes and code that is loaded later read them."""
    variables = {f"PORTICO_{name.upper()}": str(value) for name, value in overrides.items()}
    os.environ.update(variables)  # noqa: TID251 - written for `adapters.environment`, not read


async def _ready(settings: Settings, patience: float) -> None:
    async with bootstrap.running(bootstrap.build(settings)) as container:
        await wait_for(container, REQUIRED, patience=patience, report=_log.warning)
        if not await container.schema().is_current():
            raise MigrationsMissing


def _end(_signal: int, _frame: FrameType | None) -> None:
    # A garbage collection would take longer than the stop itself.
    gc.freeze()
    sys.exit(0)
