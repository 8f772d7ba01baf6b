"""Servers that fail while clients use everything, and what the clients see of it.

An API, a worker and a beat reach each server through a link that a test can break (`tests/support/link.py`), and
servers of the run's own can be killed too (`tests/faults/servers.py`). `make faults` is the long form: every fault of
every server, for longer, with the table of `docs/faults.md`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
import httpx

from local_stack.servers import choose_ports
from tests.e2e.command import Started, portico, starting
from tests.e2e.fleet import answers, variables_of
from tests.faults.load import CLIENTS, NEEDS, REFUSED, Answer, Load
from tests.faults.servers import Breakable
from tests.support.link import Link, link_to
from tests.support.servers import Servers

_VARIABLES = {
    "postgres": "PORTICO_POSTGRES_URL",
    "redis": "PORTICO_REDIS_URL",
    "mongo": "PORTICO_MONGO_URL",
    "s3": "PORTICO_S3_URL",
    "broker": "PORTICO_BROKER_URL",
}
SERVERS = tuple(_VARIABLES)
QUIET = 1.5
RECOVERY = 3.0
"""Seconds after which everything works again, once the server is back."""


async def refuse(link: Link, _: Breakable | None, seconds: float) -> None:
    """Take no connection, and end those that there are, as a host does whose server is stopped."""
    await link.cut()
    await asyncio.sleep(seconds)
    await link.mend()


async def black_hole(link: Link, _: Breakable | None, seconds: float) -> None:
    """Take connections and bytes, and deliver nothing, as a network does that fails."""
    link.freeze()
    await asyncio.sleep(seconds)
    link.thaw()


async def reset(link: Link, _: Breakable | None, seconds: float) -> None:
    """Reset all connections ten times a second, as a firewall does that forgets."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        link.reset()
        await asyncio.sleep(0.1)


async def pause(_: Link, server: Breakable | None, seconds: float) -> None:
    """Stop the processes of the server, which do afterwards what they were asked meanwhile."""
    assert server is not None
    server.pause()
    await asyncio.sleep(seconds)
    server.resume()


async def kill(_: Link, server: Breakable | None, seconds: float) -> None:
    """Kill the processes of the server, and start it again with its data."""
    assert server is not None
    await server.kill()
    await asyncio.sleep(seconds)
    await server.start()


FAULTS: Mapping[str, Callable[[Link, Breakable | None, float], Awaitable[None]]] = {
    "refuse": refuse,
    "black hole": black_hole,
    "reset": reset,
    "SIGSTOP": pause,
    "SIGKILL": kill,
}


@dataclass(slots=True)
class Product:
    """Running processes, the links to their servers, and the load."""

    load: Load
    links: Mapping[str, Link]
    breakable: Mapping[str, Breakable]
    variables: Mapping[str, str]
    noted: Path
    processes: Sequence[Started]

    async def outcome_of(self, server: str, fault: str, *, seconds: float) -> "Outcome":
        """Break a server, or the link to it, for some seconds, and wait until all is well again."""
        before = self.load.since(time.monotonic() - QUIET)
        began = time.monotonic()
        await FAULTS[fault](self.links[server], self.breakable.get(server), seconds)
        back = time.monotonic()
        last = await self._last_failure(back)
        during = [answer for answer in self.load.since(began) if answer.at <= last]
        return Outcome(server, fault, before, during, last - back)

    async def _last_failure(self, back: float) -> float:
        """Return when the last answer failed, or `back`, once nothing has failed for `QUIET` seconds."""
        limit = 30.0
        while True:
            failed = [a.at for a in self.load.since(back) if a.status == 503 or not a.is_expected]
            last = max(failed, default=back)
            if time.monotonic() - last > QUIET or time.monotonic() - back > limit:
                return last
            await asyncio.sleep(0.05)

    async def check(self) -> None:
        """Raise `AssertionError` if anything is lost, done twice or left open."""
        await self.load.stop()
        ended = [one.directory.name for one in self.processes if one.process.poll() is not None]
        assert not ended, f"{ended} ended"
        seen = {(answer.action, answer.status) for answer in self.load.answers}
        assert {("demoted", 403), ("revoked", 401)} <= seen, "nobody tried what they may not do"
        allowed = {
            (action, status) for action, status in seen if action in REFUSED and status < 300
        }
        assert not allowed, f"wrongly allowed: {allowed}"
        async with httpx.AsyncClient(base_url=self.load.api, timeout=30) as http:
            tokens = await self.load.tokens(http)
            http.headers["Authorization"] = f"Bearer {tokens['accessToken']}"
            await _eventually(lambda: self._audited(http))
            await _eventually(lambda: self._ran(http))
            await self._read(http)
            leader = (await http.get("/api/v1/scheduler")).json()["data"]
            assert leader["leader"] is not None, leader

    async def _audited(self, http: httpx.AsyncClient) -> str:
        """Each role that exists has one entry, and each entry a role; those that were answered 201 exist."""
        connection = await asyncpg.connect(self.variables["DIRECT"], timeout=10)
        try:
            rows = await connection.fetch("SELECT id, code FROM roles WHERE code LIKE 'role-%'")
            waiting = await connection.fetchval("SELECT count(*) FROM audit_outbox")
        finally:
            await connection.close()
        missing = self.load.roles - {row["code"] for row in rows}
        assert not missing, f"answered 201 and lost: {missing}"
        audited = Counter[str]()
        cursor: dict[str, str] = {}
        while True:
            asked = {"action": "roles.created", "pageSize": "100", **cursor}
            answer = await http.get("/api/v1/audit", params=asked)
            if answer.status_code != 200:
                return f"the audit log answers {answer.status_code}"
            data = answer.json()["data"]
            audited.update(entry["target"] for entry in data["records"])
            if not data["nextCursor"]:
                break
            cursor = {"cursor": data["nextCursor"]}
        expected = Counter(f"role:{row['id']}" for row in rows)
        differ = (audited - expected) + (expected - audited)
        return (
            f"{waiting} wait; audit log and roles differ in {differ}" if differ or waiting else ""
        )

    async def _ran(self, http: httpx.AsyncClient) -> str:
        """Each run that was asked for has ended, and none was executed twice.

        A message that a broken connection to the broker took along is lost: its run expires at the next slot. A run
        whose end could not be reported may have failed although its line was written.
        """
        states: dict[str, str] = {}
        cursor: dict[str, str] = {}
        while True:
            asked = {"pageSize": "100", **cursor}
            path = f"/api/v1/periodic-tasks/{self.load.task}/runs"
            answer = await http.get(path, params=asked)
            if answer.status_code != 200:
                return f"the runs answer {answer.status_code}"
            data = answer.json()["data"]
            states |= {run["id"]: run["state"] for run in data["records"]}
            if not data["nextCursor"]:
                break
            cursor = {"cursor": data["nextCursor"]}
        assert self.load.runs <= states.keys(), "a run that was answered 201 is lost"
        count = Counter(states.values())
        lines = len(self.noted.read_text().splitlines())
        said = f"{lines} lines of {dict(count)}"
        if count.keys() & {"requested", "claimed", "published", "started"}:
            return said
        assert count["succeeded"] <= lines <= count["succeeded"] + count["failed"], said
        return ""

    async def _read(self, http: httpx.AsyncClient) -> None:
        """Each acknowledged message is in the history under its number, once, without gaps."""
        found: list[Any] = []
        while True:
            after = found[-1]["seq"] if found else 0
            path = f"/api/v1/rooms/{self.load.room}/messages"
            data = (await http.get(path, params={"after": after, "limit": 100})).json()["data"]
            found += data["messages"]
            if not data["more"]:
                break
        assert [message["seq"] for message in found] == list(range(1, len(found) + 1))
        numbers = {message["id"]: message["seq"] for message in found}
        assert len(numbers) == len(found)
        assert self.load.messages.items() <= numbers.items()

    def open_files(self) -> int:
        """Return how many files and sockets the processes have open."""
        families = [process for started in self.processes for process in started.family()]
        return sum(process.num_fds() for process in families if process.is_running())


async def _eventually(difference: Callable[[], Awaitable[str]], *, within: float = 60) -> None:
    end = time.monotonic() + within
    while found := await difference():
        assert time.monotonic() < end, found
        await asyncio.sleep(0.25)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What clients saw of a fault."""

    server: str
    fault: str
    before: Sequence[Answer]
    during: Sequence[Answer]
    recovered: float

    def wrong(self, *, longest: float) -> list[Answer]:
        """Return the answers that should not have been, or came too late."""
        return [
            answer
            for answer in self.during
            if not answer.is_expected
            or answer.seconds > (20 if answer.action == "complete" else longest)
            or (answer.status == 503 and self.server not in NEEDS[answer.action])
        ]

    def row(self) -> str:
        """Return a row of the table."""
        statuses = Counter(
            "2xx" if answer.status in {200, 201} else "503" if answer.status == 503 else "other"
            for answer in self.during
            if answer.action not in REFUSED
        )
        allowed = sum(a.action in REFUSED and a.status == 200 for a in self.during)
        spared = [a.seconds for a in self.during if self.server not in NEEDS[a.action]]
        slowest = max(answer.seconds for answer in self.during if answer.action != "complete")
        cells = (
            self.server,
            self.fault,
            f"{_p99(self.before):.2f}",
            *(str(statuses[each]) for each in ("2xx", "503", "other")),
            f"{slowest:.2f}",
            f"{max(spared):.2f}" if spared else "",
            f"{self.recovered:.1f}",
            str(allowed),
        )
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| server | fault | before, p99 (s) | 2xx | 503 | other | slowest (s) | slowest that does not need it (s) "
    "| recovered after (s) | wrongly allowed |\n|" + " --- |" * 10
)


def _p99(answers: Sequence[Answer]) -> float:
    seconds = sorted(answer.seconds for answer in answers)
    return seconds[int(len(seconds) * 0.99)] if seconds else 0.0


@asynccontextmanager
async def product(
    servers: Servers,
    directory: Path,
    *,
    worker: int,
    broker_url: str | None = None,
    breakable: Mapping[str, Breakable] = MappingProxyType({}),
) -> AsyncIterator[Product]:
    """Start an API, a worker and a beat behind links, and a load; yield once all of it works.

    Without `broker_url` the broker is the same Redis behind another link. `breakable` are the servers that may be
    killed.
    """
    noted = directory / "noted"
    variables = await asyncio.to_thread(
        variables_of,
        servers,
        worker,
        PORTICO_TASK_MODULES="tests.e2e.job_tasks",
        PORTICO_WORKER_CONCURRENCY="1",
        PORTICO_SESSIONS_PER_USER="100000",
        PORTICO_FILES_MOST="100000",
        PORTICO_FILES_MOST_PENDING="100000",
        PYTHONPATH=str(Path(__file__).parents[2]),
    )
    variables["PORTICO_BROKER_URL"] = broker_url or variables["PORTICO_REDIS_URL"]
    variables["PORTICO_S3_PUBLIC_URL"] = variables["PORTICO_S3_URL"]
    [port] = choose_ports(("api",), {}).values()
    async with AsyncExitStack() as links:
        laid = {
            n: await links.enter_async_context(link_to(variables[v])) for n, v in _VARIABLES.items()
        }
        behind = variables | {v: laid[name].url(variables[v]) for name, v in _VARIABLES.items()}
        with ExitStack() as stack:

            def start(*command: str) -> Started:
                own = directory / command[0]
                own.mkdir()
                return stack.enter_context(starting(*command, directory=own, **behind))

            api = start("api", "--port", str(port))
            created = await asyncio.to_thread(
                lambda: portico("create-admin", directory=directory, **variables)
            )
            assert created.returncode == 0, created.stderr
            url = f"http://127.0.0.1:{port}"
            await asyncio.to_thread(api.wait_until, lambda: answers(url))
            worker_process, beat = start("worker"), start("beat")
            load = Load(url)
            await load.prepare(str(noted))
            await asyncio.to_thread(beat.wait_until, noted.exists)
            load.start()
            await asyncio.sleep(QUIET)
            await asyncio.to_thread(api.wait_until, lambda: len(load.answers) > 2 * CLIENTS)
            known = variables | {"DIRECT": variables["PORTICO_POSTGRES_URL"]}
            yield Product(load, laid, breakable, known, noted, (api, worker_process, beat))
            await load.stop()
