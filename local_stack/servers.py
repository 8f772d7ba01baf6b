"""The base of all servers of the local stack."""

import errno
import secrets
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import ClassVar

from local_stack.children import Spec
from local_stack.errors import WheelMissing

HOST = "127.0.0.1"

# Below the ports that systems hand out for outgoing connections (Linux from 32768, macOS from 49152),
# so that nothing takes one between its choice and its use.
_PORTS = range(15_000, 32_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The directory, ports and secret of a server, and how it runs programs."""

    directory: Path
    ports: Mapping[str, int]
    """One per component."""
    secret: str = field(repr=False)
    run: Callable[[Spec, bytes], Awaitable[str]]
    """Runs a program with this input; returns its output, or raises `ServerFailed` if it fails."""
    durable: bool = True
    """False: data need not survive a restart, which makes starting, writing and stopping faster."""


class Server(ABC):
    """One server: what to run, when it is ready, how to reach it."""

    name: ClassVar[str]
    components: ClassVar[tuple[str, ...]]
    """Each has a port. Clients connect to the first."""
    package: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    orphan_signal: ClassVar[signal.Signals] = signal.SIGKILL
    stop_within: ClassVar[float] = 10.0
    """Seconds after which a stopping server is killed. All acknowledged data is on disk by then."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return self._place.ports[self.components[0]]

    @abstractmethod
    async def prepare(self) -> None:
        """Create what the server needs for its start, unless it exists."""

    @abstractmethod
    def spec(self) -> Spec:
        """Return how to start it."""

    @abstractmethod
    async def is_ready(self) -> bool:
        """Ask in its own protocol whether it is ready; `OSError` also means no."""

    def leftovers(self) -> Iterable[Path]:
        """Return the files outside the directory that are to be deleted after the stop."""
        return ()

    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """Return the settings with which Portico uses it."""


def require(package: str) -> None:
    """Raise `WheelMissing` unless the package is installed."""
    packaged(package, "*/METADATA")


def packaged(package: str, file: str) -> Path:
    """Return where an installed package has `file`, a path or the end of one; raise `WheelMissing`."""
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        raise WheelMissing(package) from None
    for entry in files:
        if entry.match(file):
            return Path(str(entry.locate())).resolve()
    raise WheelMissing(package)


def choose_ports(names: tuple[str, ...], wanted: Mapping[str, int]) -> dict[str, int]:
    """Return a free port for each name: the wanted one if it is free, else any."""
    ports: dict[str, int] = {}
    for name in names:
        port = wanted.get(name)
        while port is None or port in ports.values() or not is_free(port):
            port = secrets.choice(_PORTS)
        ports[name] = port
    return ports


def is_free(port: int, host: str = HOST) -> bool:
    """Tell whether nothing listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: connections of a server that has just stopped do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
