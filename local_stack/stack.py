"""Starts and stops the servers of the local stack together."""

import asyncio
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from local_stack.children import Child, Spec, spawn
from local_stack.errors import (
    ServerFailed,
    StateUnreadable,
    WheelMissing,
    has_no_wheel_here,
)
from local_stack.lock import owner
from local_stack.log import Log
from local_stack.mongo import Mongo
from local_stack.postgres import Postgres
from local_stack.s3 import S3
from local_stack.servers import HOST, Place, Server, choose_ports, require
from local_stack.valkey import Valkey

_KINDS: Mapping[str, type[Server]] = MappingProxyType(
    {kind.name: kind for kind in (Postgres, Valkey, Mongo, S3)}
)
SERVERS = frozenset(_KINDS)
"""`postgres`, `redis`, `mongo` and `s3`."""

# Nothing listens at this address: an absent server is like one that is down.
_NOWHERE: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"mongo": {"PORTICO_MONGO_URL": f"mongodb://{HOST}:1"}}
)

_START_WITHIN = 60.0
_STOP_WITHIN = {kind.name: kind.stop_within for kind in _KINDS.values()}
_PORT_TAKEN = re.compile(r"address already in use", re.IGNORECASE)
_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Running:
    """A server that has become ready."""

    server: Server
    ports: Mapping[str, int]
    child: Child
    log: Log

    async def died(self) -> ServerFailed:
        """Wait until it ends; return the error that describes it."""
        code = await self.child.exited()
        return ServerFailed(self.server.name, f"ended with exit code {code}", self.log.tail())


@dataclass(frozen=True, slots=True)
class Stack:
    """Running servers by name."""

    servers: Mapping[str, Running]
    absent: frozenset[str]
    """Requested servers for which this Python has no wheel."""

    @property
    def variables(self) -> dict[str, str]:
        """The settings (`PORTICO_POSTGRES_URL`, …) with the addresses; those of absent servers lead nowhere."""
        there = {k: v for one in self.servers.values() for k, v in one.server.variables().items()}
        return there | {k: v for name in self.absent for k, v in _NOWHERE[name].items()}


@dataclass(frozen=True, slots=True)
class _State:
    """The state that is kept between starts, so that addresses and passwords stay the same."""

    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    ports: dict[str, int] = field(default_factory=dict)
    pid: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    """True while the process `pid` owns the directory."""


@asynccontextmanager
async def local_stack(
    directory: Path,
    lock: int,
    *,
    start: Collection[str] = SERVERS,
    durable: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Stack]:
    """Start the named servers in the directory that `lock` (see `locked`) owns; stop them on the way out.

    `report` gets the name of each server that is ready. Raises `ServerFailed`,
    `WheelMissing` or `StateUnreadable`.
    """
    state = _read(directory) or _State()
    # Before any start, so that the secret of a server cannot be lost.
    _write(directory, state)
    starter = _Starter(_absolute(directory), state, lock, durable, report)
    try:
        absent = frozenset(name for name in start if _is_absent(_KINDS[name].package))
        stack = Stack(await starter.start(frozenset(start) - absent), absent)
        ports = state.ports | {k: v for r in stack.servers.values() for k, v in r.ports.items()}
        _write(directory, replace(state, ports=ports, pid=os.getpid(), variables=stack.variables))
        yield stack
    finally:
        await starter.stop()


def _is_absent(package: str) -> bool:
    if not has_no_wheel_here(package):
        return False
    try:
        require(package)
    except WheelMissing:
        return True
    return False


def running_stack(directory: Path) -> Mapping[str, str] | None:
    """Return the variables of the stack that another process runs in the directory, or None."""
    state, pid = _read(directory), owner(directory)
    return state.variables if state and pid and pid == state.pid else None


@dataclass(frozen=True, slots=True)
class _Starter:
    """Starts servers, and knows every child that it must stop."""

    directory: Path
    state: _State
    lock: int
    durable: bool
    report: Callable[[str], None]
    children: list[Child] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)

    async def start(self, names: Collection[str]) -> Mapping[str, Running]:
        for name in names:
            require(_KINDS[name].package)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {name: group.create_task(self._start(_KINDS[name])) for name in names}
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return {name: task.result() for name, task in tasks.items()}

    async def stop(self) -> None:
        await asyncio.gather(
            *(child.stop(within=_STOP_WITHIN[child.name]) for child in self.children)
        )
        for path in (path for server in self.servers for path in server.leftovers()):
            path.unlink(missing_ok=True)

    async def _start(self, kind: type[Server]) -> Running:
        wanted: Mapping[str, int] = self.state.ports
        for _ in range(_RETRIES):
            try:
                return await self._attempt(kind, wanted)
            except ServerFailed as failure:
                if not _PORT_TAKEN.search(failure.log):
                    raise
            wanted = {}
        return await self._attempt(kind, wanted)

    async def _attempt(self, kind: type[Server], wanted: Mapping[str, int]) -> Running:
        log = Log(self.directory / "logs" / f"{kind.name}.log")
        ports = choose_ports(kind.components, wanted)
        server = kind(
            Place(
                directory=self.directory,
                ports=ports,
                secret=self.state.secret,
                run=partial(self._run, log),
                durable=self.durable,
            )
        )
        self.servers.append(server)
        await server.prepare()
        spec = replace(server.spec(), inherited=(self.lock,))
        if not self.durable:
            spec = replace(spec, stop_signal=spec.orphan_signal)
        with log.opened() as output:
            child = await spawn(spec, output=output.fileno())
        self.children.append(child)
        await self._until_ready(server, child, log)
        self.report(kind.name)
        return Running(server, ports, child, log)

    async def _until_ready(self, server: Server, child: Child, log: Log) -> None:
        exited = asyncio.create_task(child.exited())
        try:
            async with asyncio.timeout(_START_WITHIN):
                while not exited.done():
                    with suppress(OSError):
                        if await server.is_ready():
                            return
                    await asyncio.wait({exited}, timeout=0.02)
        except TimeoutError:
            what = f"was not ready within {_START_WITHIN:.0f} s"
            raise ServerFailed(server.name, what, log.tail()) from None
        finally:
            exited.cancel()
        what = f"could not start (exit code {exited.result()})"
        raise ServerFailed(server.name, what, log.tail())

    async def _run(self, log: Log, spec: Spec, stdin: bytes) -> str:
        """Run a program to its end; see `Place.run`."""
        with log.opened() as output:
            start = output.tell()
            child = await spawn(
                replace(spec, inherited=(self.lock,)),
                stdin=asyncio.subprocess.PIPE,
                output=output.fileno(),
            )
            self.children.append(child)
            await child.process.communicate(stdin)
        self.children.remove(child)
        if code := await child.exited():
            raise ServerFailed(spec.name, f"could not be prepared (exit code {code})", log.tail())
        return log.since(start)


def _absolute(directory: Path) -> Path:
    """Return the absolute path: servers have other working directories."""
    return directory.resolve()


def _read(directory: Path) -> _State | None:
    path = directory / "stack.json"
    try:
        return _State(**json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):
        raise StateUnreadable(path) from None


def _write(directory: Path, state: _State) -> None:
    """Replace the file in one step; it holds secrets, so only its owner may read it."""
    path = directory / "stack.json"
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(asdict(state), indent=2))
    unfinished.replace(path)
