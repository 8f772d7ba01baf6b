"""Beats and workers in processes of their own, on a database and a broker that they share."""

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
from redis import Redis

from adapters.postgres.schema import PostgresSchema
from application.settings import PostgresSettings
from tests.e2e.command import addresses, environment
from tests.support.clock import SECOND
from tests.support.servers import Servers, redis_urls

ROOT = Path(__file__).parents[2]
WITHIN = 40.0
"""Seconds after which waiting is given up."""
_APP = "tests.e2e.beat_app"


@dataclass(slots=True)
class Process:
    """A beat or a worker, and where it writes."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def said(self) -> str:
        """Return what it wrote so far."""
        return self.output.read_text()

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.process.kill()
        self.process.wait()

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WITHIN)


@dataclass(slots=True)
class Stage:
    """What beats and workers share."""

    directory: Path
    variables: dict[str, str]
    stack: ExitStack
    database: "asyncpg.Connection[Any]"
    broker: Redis
    processes: list[Process] = field(default_factory=list)

    def beat(self, **variables: str) -> Process:
        """Start a beat."""
        return self._start(
            *("beat", "-S", "entrypoints.celery.scheduler:DatabaseScheduler", "--pidfile="),
            **variables,
        )

    def worker(self) -> Process:
        """Start a worker that runs many tasks at once."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        return self._start("worker", "-P", "threads", "-c", "8", *quiet)

    async def sql(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Do what somebody does by hand."""
        return await self.database.fetch(statement, *values)

    async def define(self, name: str, *, every: float = 1, **columns: object) -> UUID:
        """Put a task into the database that notes its runs under its name."""
        row = {
            "name": name,
            "task": "tests.note",
            "kind": "interval",
            "schedule": json.dumps({"every": int(every * 1000), "period": "milliseconds"}),
            "args": json.dumps([name]),
            "misfire": "run_all",
            **columns,
        }
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        (made,) = await self.sql(
            f"INSERT INTO periodic_tasks ({', '.join(row)}) VALUES ({places}) RETURNING id",  # noqa: S608 - names of columns
            *row.values(),
        )
        return UUID(str(made["id"]))

    def ran(self, name: str) -> list[datetime]:
        """Return the slots for which a task ran, as often as it did, in order."""
        noted: Any = self.broker.lrange(f"ran:{name}", 0, -1)
        return sorted(datetime.fromisoformat(slot.decode()) for slot in noted)

    async def runs(self, task_id: UUID, *states: str) -> list[asyncpg.Record]:
        """Return the runs of a task in these states, or all of them, in order."""
        return await self.sql(
            "SELECT * FROM task_runs WHERE task_id = $1 AND (state = ANY($2) OR $3) ORDER BY scheduled_for",
            *(task_id, list(states), not states),
        )

    async def leader(self) -> asyncpg.Record | None:
        """Return the lease, if anybody leads."""
        found = await self.sql("SELECT * FROM beat_lease WHERE leads_until > clock_timestamp()")
        return found[0] if found else None

    async def until(
        self, condition: Callable[[], Any], *, within: float = WITHIN, what: str = ""
    ) -> float:
        """Return once the condition holds, and after how many seconds it did."""
        start = time.monotonic()
        while True:
            holds = condition()
            if asyncio.iscoroutine(holds):
                holds = await holds
            if holds:
                return time.monotonic() - start
            assert time.monotonic() - start < within, f"{what}\n{self.said()}"
            await asyncio.sleep(0.02)

    async def report(self) -> dict[str, Any]:
        """Return the last report of a beat."""
        (lease,) = await self.sql("SELECT report FROM beat_lease")
        report: dict[str, Any] = json.loads(lease["report"])
        return report

    async def until_somebody_leads(self) -> None:
        """Wait for a beat that is up."""
        await self.until(self.leader, what="no beat leads")

    def said(self) -> str:
        """Return what all processes wrote so far."""
        return "\n".join(f"--- {each.output.name}\n{each.said()}" for each in self.processes)

    def _start(self, *arguments: str, **variables: str) -> Process:
        output = self.directory / f"{len(self.processes)}-{arguments[0]}"
        with output.open("w") as file:
            process = subprocess.Popen(  # noqa: S603 - ours
                [sys.executable, "-m", "celery", "-q", "-A", _APP, *arguments],
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env=self.variables | variables,
            )
        started = Process(process, output)
        self.processes.append(started)
        self.stack.callback(_end, process)
        return started


@asynccontextmanager
async def a_stage(
    servers: Servers, directory: Path, *, worker: int, **variables: str
) -> AsyncIterator[Stage]:
    """Set up a database and a broker of their own, which are the `worker`'s; end all processes afterwards."""
    name = f"portico_beats_{worker}"
    url = urlunsplit(urlsplit(servers.postgres_url)._replace(path=f"/{name}"))
    connection = await asyncpg.connect(servers.postgres_url, timeout=10)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    await PostgresSchema(PostgresSettings(url=url)).upgrade()
    _, redis_url = redis_urls(servers, worker)
    with ExitStack() as stack:
        broker = stack.enter_context(Redis.from_url(redis_url, socket_timeout=10))
        broker.flushdb()
        settings = addresses(
            servers,
            PORTICO_POSTGRES_URL=url,
            PORTICO_REDIS_URL=redis_url,
            PORTICO_BEAT_LEASE="2s",
            PORTICO_BEAT_POLL="1s",
            **variables,
        )
        database = await asyncpg.connect(url, timeout=10)
        try:
            yield Stage(directory, environment(directory, **settings), stack, database, broker)
        finally:
            stack.close()
            await database.close()


@asynccontextmanager
async def a_second_connection(stage: Stage) -> AsyncIterator[Stage]:
    """Let somebody else look at the same stage, while a transaction is open."""
    database = await asyncpg.connect(stage.variables["PORTICO_POSTGRES_URL"], timeout=10)
    try:
        yield replace(stage, database=database)
    finally:
        await database.close()


def each_once(slots: Iterable[datetime], *, every: timedelta = SECOND) -> bool:
    """Tell whether slots follow each other without a gap, and none comes twice."""
    ordered = sorted(slots)
    return all(after - before == every for before, after in itertools.pairwise(ordered))


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
