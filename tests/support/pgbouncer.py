"""A PgBouncer of a test's own, in front of the PostgreSQL of the run."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.valkey import free_port

MISSING = "needs PgBouncer: install pgbouncer (`apt-get install pgbouncer`; it need not run)"


def program() -> str | None:
    """Return the program if it is on this machine: Debian puts it where only root looks."""
    return shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")


def version() -> tuple[int, ...]:
    """Return its version, such as (1, 18, 0)."""
    said = subprocess.run([str(program()), "--version"], check=True, capture_output=True, text=True)  # noqa: S603
    return tuple(int(part) for part in said.stdout.split()[1].split("."))


class PgBouncer:
    """Pools connections to any database that a client names; `mode` is `session` or `transaction`."""

    def __init__(self, directory: Path, postgres_url: str, mode: str) -> None:
        self.directory = directory
        self._server = urlsplit(postgres_url)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self._configuration = directory / "pgbouncer.ini"
        users = directory / "users"
        users.write_text(f'"{self._server.username}" "{self._server.password or ""}"\n')
        keeps_statements = "max_prepared_statements = 100\n" if version() >= (1, 21) else ""
        self._configuration.write_text(
            "[databases]\n"
            f"* = host={self._server.hostname} port={self._server.port or 5432}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self._port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = {mode}\ndefault_pool_size = 100\n"
            f"{keeps_statements}"
        )

    @property
    def url(self) -> str:
        place = f"{self._server.username}:{self._server.password or ''}@127.0.0.1:{self._port}"
        return self._server._replace(netloc=place).geturl()

    def __enter__(self) -> Self:
        options: tuple[str, ...] = ()
        if os.geteuid() == 0:  # which it refuses to be
            unprivileged = pwd.getpwnam("nobody")
            for path in self._configuration.parent.iterdir():
                os.chown(path, unprivileged.pw_uid, unprivileged.pw_gid)
            options = ("--user", "nobody")
        self._process = subprocess.Popen(  # noqa: S603 - ours
            [str(program()), *options, str(self._configuration)],
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line.decode())
            if b"process up" in line:
                return self
        raise AssertionError("".join(said))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.stderr is not None:
            self._process.kill()
            self._process.wait()
            self._process.stderr.close()
