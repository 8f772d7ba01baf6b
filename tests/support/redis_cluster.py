"""A Redis Cluster of a test's own: three masters with a replica each, or as many as it takes."""

import asyncio
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError

from tests.support.valkey import Valkey, free_port
from tests.support.waiting import until

NODE_TIMEOUT = 500
"""Milliseconds after which a master that does not answer is replaced."""
_SLOTS = 16384


class ValkeyCluster:
    """The servers, started by `async with`."""

    def __init__(self, directory: Path, *, masters: int = 3, replicas: int = 1) -> None:
        self._directory = directory
        self._masters = masters
        self._count = masters * (1 + replicas)
        self.nodes: list[Valkey] = []

    @property
    def url(self) -> str:
        """Where every node may be asked."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    async def start(self) -> None:
        """Start the servers, and return when they are a cluster."""
        bus_ports = [free_port() for _ in range(self._count)]
        for number, bus_port in enumerate(bus_ports):
            directory = self._directory / str(number)
            directory.mkdir()
            node = Valkey(
                directory,
                *("--cluster-enabled", "yes", "--cluster-port", str(bus_port)),
                *("--cluster-node-timeout", str(NODE_TIMEOUT), "--appendfsync", "no"),
                # The users of other masters are not to notice a fail-over.
                *(
                    "--cluster-require-full-coverage",
                    "no",
                    "--cluster-replica-validity-factor",
                    "0",
                ),
                *("--repl-diskless-sync-delay", "0", "--cluster-allow-replica-migration", "no"),
            )
            self.nodes.append(node)
        await asyncio.gather(*(node.start() for node in self.nodes))
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            await ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < self._masters:
                begins, ends = (_SLOTS * n // self._masters for n in (number, number + 1))
                await ask(node, "CLUSTER", "ADDSLOTSRANGE", begins, ends - 1)
            await ask(node, "CLUSTER", "MEET", "127.0.0.1", first.port, bus_ports[0])
        for number in range(self._masters, self._count):
            await self._replicate(self.nodes[number], self.nodes[number % self._masters])
        await until(self.is_whole)

    def kill(self) -> None:
        """End the servers, paused ones too."""
        for node in self.nodes:
            node.resume()
            node.__exit__(None, None, None)

    async def _replicate(self, replica: Valkey, master: Valkey) -> None:
        master_id = str(await ask(master, "CLUSTER", "MYID"))

        async def done() -> bool:
            try:
                return bool(await ask(replica, "CLUSTER", "REPLICATE", master_id))
            except ResponseError:  # it does not know the master yet
                return False

        await until(done)

    async def is_whole(self) -> bool:
        """Whether all servers see the same masters and replicas, the replicas are up to date, and none seems down.

        A master that was paused for a moment may still be replaced while others think that it failed.
        """
        views, seen = set(), 0
        for node in self.nodes:
            known = (await ask(node, "CLUSTER", "NODES")).splitlines()
            if any("fail" in line.split()[2] for line in known):
                return False
            if "cluster_state:ok" not in await ask(node, "CLUSTER", "INFO"):
                return False
            replication = await ask(node, "INFO", "replication")
            if replication["role"] == "slave" and replication["master_link_status"] != "up":
                return False
            slots = await ask(node, "CLUSTER", "SLOTS")
            views.add(
                str(
                    sorted(
                        (first, master[1], sorted(map(str, replicas)))
                        for first, _, master, *replicas in slots
                    )
                )
            )
            seen = sum(len(replicas) + 1 for _, _, _, *replicas in slots)
        return len(views) == 1 and seen >= self._count

    async def master_of(self, key: str) -> Valkey:
        """Return the master of a key, as the first node that answers sees it."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            with suppress(OSError, TimeoutError, RedisError):
                async with asyncio.timeout(0.3):
                    ranges = await ask(node, "CLUSTER", "SLOTS")
                port = next(
                    port for first, last, (_, port, *_), *_ in ranges if first <= slot <= last
                )
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError("no node answers")

    async def replica_of(self, master: Valkey) -> Valkey:
        """Return a replica of a master."""
        for node in self.nodes:
            if (await ask(node, "INFO", "replication")).get("master_port") == master.port:
                return node
        raise AssertionError("it has no replica")

    async def promote(self, replica: Valkey) -> None:
        """Let a replica take over from a living master; return when both know."""
        await ask(replica, "CLUSTER", "FAILOVER")

        async def done() -> bool:
            replication = await ask(replica, "INFO", "replication")
            return replication["role"] == "master" and await self.is_whole()

        await until(done)


async def ask(node: Valkey | int, *command: str | int) -> Any:
    """Send one command to one server, which may be given by its port."""
    port = node if isinstance(node, int) else node.port
    async with Redis(port=port, decode_responses=True, protocol=2, socket_timeout=5) as client:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # the driver's own gap
