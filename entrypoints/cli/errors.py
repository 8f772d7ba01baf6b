"""The errors of commands."""

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes that scripts can rely on."""

    FAILED = 1
    WRONG_SETTINGS = 2
    DEPENDENCY_DOWN = 3


class Refused(Exception):
    """The user can solve the problem; the text says how."""


class PortTaken(Refused):
    """Another program listens where the API should."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"Port {port} of {host} is taken; stop what listens there, or set PORTICO_HTTP_PORT"
        )


class ProcessEnded(Refused):
    """A process has ended unexpectedly."""

    def __init__(self, name: str, exit_code: int) -> None:
        super().__init__(f"{name} ended with exit code {exit_code}; its last lines are above")


class NotReady(Refused):
    """A process started but did not become ready."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name} was not ready within {seconds:.0f} s; its last lines are above")


class MigrationsMissing(Refused):
    """The schema of the database is older than this code."""

    def __init__(self) -> None:
        super().__init__("Migrations are missing; run `portico migrate`")


class NoServers(Refused):
    """Workers and beats share PostgreSQL and a broker with the API; memory cannot be shared."""

    def __init__(self) -> None:
        super().__init__(
            "With PORTICO_STORES=memory there is only one process: no workers and no beat"
        )


class MemoryNotShared(Refused):
    """A command cannot reach the memory of another process."""

    def __init__(self) -> None:
        super().__init__(
            "With PORTICO_STORES=memory all data is in the process of the API; another process cannot reach it"
        )


class MemoryNotKept(Refused):
    """A command would store data in memory, which is lost when it ends."""

    def __init__(self, instead: str) -> None:
        super().__init__(
            f"With PORTICO_STORES=memory all data is lost when the process ends; {instead}"
        )


class NoApiAnswers(Refused):
    """No API answers at an address of this host."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"No answer from the API at port {port} of {host}")


class NoWorkerAnswers(Refused):
    """No worker of this host answers."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No answer from {name}")


class NoLeader(Refused):
    """No beat publishes periodic tasks."""

    def __init__(self, beat: str | None = None, problem: str | None = None) -> None:
        reason = f". {beat}: {problem}" if problem else ""
        super().__init__(f"No beat leads; periodic tasks do not run{reason}")


class PublishingFails(Refused):
    """A beat leads but cannot publish its messages."""

    def __init__(self, beat: str, since: datetime, error: str) -> None:
        super().__init__(
            f"{beat} leads and has published nothing since {since:%Y-%m-%d %H:%M:%S} UTC: {error}"
        )


class DependencyDown(Exception):
    """Servers that Portico needs cannot be used; one line for each says why."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(sorted(reasons.items()))
        super().__init__("\n".join(f"{name}: {self.line(name)}" for name in self.reasons))

    def line(self, name: str) -> str:
        """Return why a server cannot be used, and which settings to check."""
        return (
            f"{self.reasons[name]}; is it up, and is {_VARIABLES.get(name, _variable(name))} right?"
        )


def _variable(name: str) -> str:
    return f"PORTICO_{name.upper()}_URL"


_VARIABLES = {
    "s3": "PORTICO_S3_URL (or _BUCKET, _REGION, _ACCESS_KEY, _SECRET_KEY)",
}
