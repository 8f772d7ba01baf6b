"""`portico doctor`: what is wrong here, and what to do about it."""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

import bootstrap
from application.ports.system import MigrationsRefused
from application.settings import Settings, UnsafeSettings
from bootstrap import Container
from domain.errors import Unavailable
from domain.scheduling.zones import zone_rules_version
from entrypoints.cli import console
from entrypoints.cli.api import hand_on
from entrypoints.cli.broker import broker_probes
from entrypoints.cli.connection import answered
from entrypoints.cli.errors import DependencyDown, ExitCode, MigrationsMissing, PortTaken
from entrypoints.local.addresses import as_overrides, unconfigured
from entrypoints.local.lock import owner
from entrypoints.local.servers import is_free
from entrypoints.local.stack import SERVERS, running_stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; `exit_code` is that of the whole examination if it is the worst."""

    check: str
    detail: str
    exit_code: int = 0


async def examine(*, json: bool) -> int:
    """Print every finding, and return the exit code."""
    findings = [finding async for finding in _findings()]
    if json:
        console.show_json({"findings": [asdict(finding) for finding in findings]})
    for finding in () if json else findings:
        mark = "✗" if finding.exit_code else "✓"
        console.show(f"{mark} {finding.check:<12} {finding.detail}")
    wrong = {finding.exit_code for finding in findings}
    order = (ExitCode.WRONG_SETTINGS, ExitCode.DEPENDENCY_DOWN, ExitCode.FAILED)
    return next((int(code) for code in order if code in wrong), 0)


async def _findings() -> AsyncIterator[Finding]:
    try:
        settings = bootstrap.load_settings()
        missing = unconfigured(settings)
        variables = running_stack(settings.data_dir) if missing else None
        if missing and variables:
            overrides = as_overrides(variables, missing)
            settings = bootstrap.load_settings(**overrides)
            hand_on(overrides)
        elif missing:
            # The rest can be judged all the same.
            settings = bootstrap.load_settings(stores="memory")
        container = bootstrap.build(settings)
    except UnsafeSettings as error:
        for problem in error.problems:
            yield Finding(check="settings", detail=str(problem), exit_code=ExitCode.WRONG_SETTINGS)
        return
    yield Finding(check="settings", detail=f"fit for {settings.environment}")
    yield Finding(check="time zones", detail=f"of tzdata {zone_rules_version()}, in all processes")
    yield _port(settings)
    if missing and not variables:
        names = ", ".join(sorted(missing))
        yield Finding(
            check="servers", detail=f"no address for {names}: `portico run` starts its own"
        )
        return
    async for finding in _dependencies(container):
        yield finding


def _port(settings: Settings) -> Finding:
    host, port = settings.http.host, settings.http.port
    if pid := owner(settings.data_dir):
        return Finding(check="portico run", detail=f"is running (pid {pid})")
    if port and not is_free(port, host):
        return Finding(check="port", detail=str(PortTaken(host, port)), exit_code=ExitCode.FAILED)
    return Finding(check="port", detail=f"{port} of {host} is free")


async def _dependencies(container: Container) -> AsyncIterator[Finding]:
    broker = broker_probes(container.settings())
    async with bootstrap.running(container):
        try:
            await answered(container, others=broker, patience=5)
        except DependencyDown as error:
            down = {name: error.line(name) for name in error.reasons}
        else:
            down = {}
        for name in sorted([*SERVERS, *(probe.name for probe in broker)]):
            yield _server(name, down.get(name))
        if "postgres" not in down:
            yield await _schema(container)


def _server(name: str, problem: str | None) -> Finding:
    if problem is None:
        return Finding(check=name, detail="answers")
    return Finding(check=name, detail=problem, exit_code=ExitCode.DEPENDENCY_DOWN)


async def _schema(container: Container) -> Finding:
    try:
        current = await container.schema().is_current()
    except Unavailable as error:
        return Finding(check="schema", detail=str(error), exit_code=ExitCode.DEPENDENCY_DOWN)
    except MigrationsRefused as error:
        return Finding(check="schema", detail=str(error), exit_code=ExitCode.FAILED)
    if not current:
        return Finding(check="schema", detail=str(MigrationsMissing()), exit_code=ExitCode.FAILED)
    return Finding(check="schema", detail="has every migration")
