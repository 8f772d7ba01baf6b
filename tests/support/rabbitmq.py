"""A RabbitMQ server of a test's own: to be killed and started again."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.support.certificates import certify
from tests.support.processes import family_of, kill_all, survivors
from tests.support.valkey import free_port

MISSING = (
    "needs RabbitMQ: install rabbitmq-server (`apt-get install rabbitmq-server`; it need not run), "
    "or set PORTICO_TEST_BROKER_URL"
)


def program() -> Path | None:
    """Return the program if it is on this machine."""
    # What Debian puts on the path becomes another user first, and knows one directory.
    behind = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    found = str(behind) if behind.exists() else shutil.which("rabbitmq-server")
    return Path(found) if found and shutil.which("epmd") else None


class RabbitMQ:
    """A node that keeps everything in `directory`, listens on 127.0.0.1 alone, and leaves nothing running."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port, self._encrypted_port = free_port(), free_port()
        self.certified = certify("localhost", directory)
        (directory / "plugins").write_text("[].\n")
        (directory / "rabbitmq.conf").write_text(
            f"listeners.ssl.1 = 127.0.0.1:{self._encrypted_port}\n"
            f"ssl_options.cacertfile = {self.certified.authority}\n"
            f"ssl_options.certfile = {self.certified.certificate}\n"
            f"ssl_options.keyfile = {self.certified.key}\n"
        )
        self._environment = {
            **os.environ,  # noqa: TID251 - handed on
            "HOME": str(directory),  # of the cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_NODENAME": f"portico{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false +sbwt none",
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def encrypted_url(self) -> str:
        """The address that the certificate is for."""
        return f"amqps://guest:guest@localhost:{self._encrypted_port}//"

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        if not self._processes:
            epmd = ["epmd", "-port", self._environment["ERL_EPMD_PORT"], "-address", "127.0.0.1"]
            self._processes.append(self._spawn(epmd, subprocess.DEVNULL))
        command = program()
        assert command is not None
        node = self._spawn([str(command)], subprocess.PIPE)
        self._processes.append(node)
        assert node.stdout is not None
        said = []
        for line in node.stdout:
            said.append(line.decode())
            # It has taken connections for a moment by now, and hardly says more than a pipe holds.
            if b"Server startup complete" in line:
                return
        raise AssertionError("".join(said))

    def limit_memory(self, part: float) -> None:
        """Take messages only while less than such a part of the machine's memory is used: with 0, none at all."""
        command = program()
        assert command is not None
        subprocess.run(  # noqa: S603 - ours
            [
                command.with_name("rabbitmqctl"),
                *("--node", self._environment["RABBITMQ_NODENAME"], "--timeout", "30"),
                *("set_vm_memory_high_watermark", str(part)),
            ],
            cwd=self._directory,
            env=self._environment,
            check=True,
            capture_output=True,
        )

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self._kill(self._processes.pop())

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._processes:
            self.kill()

    def _spawn(self, command: list[str], output: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - ours
            command,
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        with suppress(psutil.NoSuchProcess):
            family = family_of(process.pid)
            kill_all(family)
            process.wait()
            assert not survivors(family, within=10)
        if process.stdout is not None:
            process.stdout.close()
