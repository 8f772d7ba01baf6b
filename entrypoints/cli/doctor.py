"""`portico doctor`: finds what is wrong and says what to do."""

import asyncio
import json as json_format
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from http.client import HTTPConnection, HTTPException

import bootstrap
from application.ports.health import Concern
from application.ports.system import Clock, MigrationsRefused
from application.setting_problems import UnsafeSettings
from application.settings import KeySettings, Settings, Stores
from application.use_cases.health import CheckReadiness
from bootstrap import Container
from domain.errors import Unavailable
from domain.scheduling.zones import zone_rules_version
from entrypoints.cli import console
from entrypoints.cli.api import export_to_environment
from entrypoints.cli.broker import broker_probes
from entrypoints.cli.connection import wait_for
from entrypoints.cli.errors import (
    DependencyDown,
    ExitCode,
    MigrationsMissing,
    NoLeader,
    PortTaken,
    PublishingFails,
)
from entrypoints.cli.jobs import answering_workers
from entrypoints.cli.liveness import reachable_host
from entrypoints.server_addresses import as_overrides, unconfigured
from local_stack.lock import owner
from local_stack.servers import is_free
from local_stack.stack import SERVERS, running_stack

_PATIENCE = 5.0
_ANSWER_WITHIN = 3.0
_LITTLE_DISK = 1 << 30
_KEY_LASTS = timedelta(days=365)
"""As the alert PorticoKeyOld says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check. The worst `exit_code` of all checks is that of the command."""

    check: str
    detail: str
    exit_code: int = 0
    warning: bool = False
    """It works, but perhaps not as expected."""


async def examine(*, json: bool) -> int:
    """Print every finding, and return the exit code."""
    findings = [finding async for finding in _findings()]
    if json:
        console.show_json({"findings": [asdict(finding) for finding in findings]})
    for finding in () if json else findings:
        mark = "✗" if finding.exit_code else "!" if finding.warning else "✓"
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
            export_to_environment(overrides)
        elif missing:
            # Check the rest all the same.
            settings = bootstrap.load_settings(stores="memory")
        container = bootstrap.build(settings)
    except UnsafeSettings as error:
        for problem in error.problems:
            yield Finding(check="settings", detail=str(problem), exit_code=ExitCode.WRONG_SETTINGS)
        return
    yield Finding(check="settings", detail=f"valid for {settings.environment}")
    yield Finding(check="time zones", detail=f"of tzdata {zone_rules_version()}, in all processes")
    yield await asyncio.to_thread(_port, settings, container.keys_in_use()["access"])
    yield _disk(settings)
    now = container.clock().now()
    for finding in (
        *_secrets(),
        *ages(settings.keys, now),
        *await traces(settings, container.clock()),
    ):
        yield finding
    if missing and not variables:
        names = ", ".join(sorted(missing))
        yield Finding(
            check="servers", detail=f"no address for {names}: `portico run` starts its own"
        )
    elif settings.stores is Stores.MEMORY:
        yield Finding(
            check="servers",
            detail="none: with PORTICO_STORES=memory all data is lost when the process ends",
        )
    else:
        async for finding in _dependencies(container):
            yield finding


# --- this host ----------------------------------------------------------------------------------


def _port(settings: Settings, key: str) -> Finding:
    host, port = settings.http.host, settings.http.port
    if pid := owner(settings.data_dir):
        return Finding(check="portico run", detail=f"is running (pid {pid})")
    if not port or is_free(port, host):
        return Finding(check="port", detail=f"{port} of {host} is free")
    if key in _keys_published_at(reachable_host(settings.http.host), port):
        return Finding(check="port", detail=f"{port} of {host}: our API listens, with our keys")
    return Finding(check="port", detail=str(PortTaken(host, port)), exit_code=ExitCode.FAILED)


def _keys_published_at(host: str, port: int) -> frozenset[str]:
    """Return the ids of the keys that an API publishes there; none if no API listens."""
    # Ignore proxy variables: it is this host.
    connection = HTTPConnection(host, port, timeout=_ANSWER_WITHIN)
    try:
        connection.request("GET", "/.well-known/jwks.json")
        answer = connection.getresponse().read(1 << 20)
        return frozenset(key["kid"] for key in json_format.loads(answer)["keys"])
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return frozenset()
    finally:
        connection.close()


def _secrets() -> Iterator[Finding]:
    problems = bootstrap.readable_secrets()
    for problem in problems:
        yield Finding(check="secrets", detail=str(problem), warning=True)
    if not problems:
        yield Finding(
            check="secrets", detail="no file of them can be read by all users of this host"
        )


def ages(keys: KeySettings, now: datetime) -> Iterator[Finding]:
    """Yield how old the oldest active key is, if it is a file."""
    made = {"access": keys.access, "refresh": keys.refresh, "transport": keys.transport}
    known = {purpose: now - ring.made_at for purpose, ring in made.items() if ring.made_at}
    if known:
        oldest = max(known, key=lambda purpose: known[purpose])
        is_old = known[oldest] > _KEY_LASTS
        advice = "; `portico make-keys --rotate` replaces it and logs out nobody" if is_old else ""
        yield Finding(
            check="keys",
            detail=f"the oldest ({oldest}) is {known[oldest].days} days old{advice}",
            warning=is_old,
        )


def _disk(settings: Settings) -> Finding:
    directory = settings.data_dir.resolve()
    place = next(each for each in (directory, *directory.parents) if each.exists())
    free = shutil.disk_usage(place).free
    return Finding(
        check="disk",
        detail=f"{free / (1 << 30):.1f} GiB free at {place}",
        warning=free < _LITTLE_DISK,
    )


async def traces(settings: Settings, clock: Clock) -> list[Finding]:
    """Return whether the collector takes spans, if there is to be one."""
    probe = bootstrap.collector_probe(settings)
    if probe is None:
        return []
    check = CheckReadiness([probe], clock, timeout=timedelta(seconds=_ANSWER_WITHIN))
    problem = (await check()).reasons.get(probe.name)
    detail = f"are lost, because of the collector: {problem}" if problem else "reach the collector"
    return [Finding(check="traces", detail=detail, warning=problem is not None)]


# --- servers ------------------------------------------------------------------------------------


async def _dependencies(container: Container) -> AsyncIterator[Finding]:
    others = broker_probes(container.settings())
    async with bootstrap.running(container):
        down: Mapping[str, str] = {}
        try:
            await wait_for(container, others=others, patience=_PATIENCE)
        except DependencyDown as error:
            down = {name: error.line(name) for name in error.reasons}
        for name in sorted([*SERVERS, *(probe.name for probe in others)]):
            yield _server(name, down.get(name))
        for inspection in container.inspections():
            if inspection.name not in down:
                with suppress(Unavailable):  # since a moment ago
                    for remark in await inspection.remarks():
                        wrong = remark.concern is Concern.WRONG
                        yield Finding(
                            check=f"{inspection.name} {remark.about}",
                            detail=remark.text,
                            exit_code=ExitCode.FAILED if wrong else 0,
                            warning=remark.concern is Concern.WARNING,
                        )
        if "postgres" not in down:
            schema = await _schema(container)
            yield schema
            if not schema.exit_code:
                yield await _beat(container)
    if "broker" not in down and "redis" not in down:
        yield await _workers()


def _server(name: str, problem: str | None) -> Finding:
    if problem is None:
        return Finding(check=name, detail="answers")
    return Finding(check=name, detail=problem, exit_code=ExitCode.DEPENDENCY_DOWN)


async def _schema(container: Container) -> Finding:
    try:
        current = await container.schema().is_current()
    except Unavailable as error:
        return Finding(
            check="schema", detail=error.reason or str(error), exit_code=ExitCode.DEPENDENCY_DOWN
        )
    except MigrationsRefused as error:
        return Finding(check="schema", detail=str(error), exit_code=ExitCode.FAILED)
    if not current:
        return Finding(check="schema", detail=str(MigrationsMissing()), exit_code=ExitCode.FAILED)
    return Finding(check="schema", detail="has every migration")


async def _beat(container: Container) -> Finding:
    try:
        status = await container.get_scheduler_status()()
    except Unavailable as error:
        return Finding(
            check="beat", detail=error.reason or str(error), exit_code=ExitCode.DEPENDENCY_DOWN
        )
    report = status.report
    if report is None or not status.leads:
        none = NoLeader(report.name if report else None, report.problem if report else None)
        return Finding(check="beat", detail=str(none), warning=True)
    if publishing := status.publishing_problem:
        stuck = PublishingFails(report.name, publishing.since, publishing.error)
        return Finding(check="beat", detail=str(stuck), exit_code=ExitCode.FAILED)
    return Finding(check="beat", detail=f"{report.name} leads")


async def _workers() -> Finding:
    names = await asyncio.to_thread(answering_workers)
    if not names:
        return Finding(
            check="workers",
            detail="no worker answers, so tasks wait; start one with `portico worker`",
            warning=True,
        )
    return Finding(check="workers", detail=f"{', '.join(names)} answer{'s' * (len(names) == 1)}")
