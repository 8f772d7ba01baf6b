"""`portico worker` and `portico beat`: they wait for their servers, then replace themselves by Celery's commands."""

import asyncio
import json as json_format
import os
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

import bootstrap
from application.ports.system import Schema
from application.setting_problems import UnsafeSettings, problems_of
from application.settings import Settings, Stores
from domain.errors import Unavailable
from entrypoints.cli import console
from entrypoints.cli.api import export_to_environment
from entrypoints.cli.broker import broker_probes
from entrypoints.cli.connection import wait_for
from entrypoints.cli.errors import (
    MigrationsMissing,
    NoLeader,
    NoServers,
    NoWorkerAnswers,
    PublishingFails,
)
from entrypoints.server_addresses import settings_here
from local_stack.stack import SERVERS

# By name: entrypoints do not know each other.
_COMMAND = (sys.executable, "-m", "entrypoints.celery.command")
_CELERY = (sys.executable, "-m", "celery", "--quiet", "--app", "entrypoints.celery.app")

_ANSWER_WITHIN = 3.0


def work(
    name: str,
    *,
    concurrency: int | None,
    pool: str | None,
    queues: str | None,
    patience: float,
) -> None:
    """Run tasks until a signal says stop.

    Raise `UnsafeSettings`, `DependencyDown`, `NoServers` or `MigrationsMissing`.
    """
    given = {"worker_concurrency": concurrency, "worker_pool": pool}
    arguments = ["--hostname", f"{name}@%h"]
    if queues is not None:
        arguments += ["--queues", queues]
    _exec_celery(
        ("worker", *arguments),
        {name: value for name, value in given.items() if value is not None},
        servers=SERVERS,
        patience=patience,
    )


def beat(*, patience: float) -> None:
    """Publish periodic tasks until a signal says stop, or stand by; raise what `work` raises."""
    _exec_celery(("beat",), {}, servers={"postgres", "redis"}, patience=patience)


def check_worker(name: str, *, json: bool) -> None:
    """Raise `NoWorkerAnswers` unless the worker of that name on this host answers."""
    settings = _with_addresses({})
    if problems := problems_of(settings):
        raise UnsafeSettings(problems)
    node = f"{name}@{socket.gethostname()}"
    asked = subprocess.run(  # noqa: S603 - ours
        [*_CELERY, "inspect", "--timeout", str(_ANSWER_WITHIN), "--destination", node, "ping"],
        check=False,
        capture_output=True,
    )
    works = asked.returncode == 0
    if json:
        console.show_json({"worker": node, "answers": works})
    if not works:
        raise NoWorkerAnswers(node)
    if not json:
        console.show(f"{node} answers")


def answering_workers() -> Sequence[str]:
    """Return the names of the workers of all hosts that answer through the broker."""
    asked = subprocess.run(  # noqa: S603 - ours
        [*_CELERY, "inspect", "--timeout", str(_ANSWER_WITHIN), "--json", "ping"],
        check=False,
        capture_output=True,
        text=True,
    )
    return sorted(json_format.loads(asked.stdout)) if asked.returncode == 0 else ()


async def check_beat(*, json: bool) -> None:
    """Raise `NoLeader` unless a beat leads, on any host, and `PublishingFails` if it cannot publish.

    Raise `DependencyDown` if PostgreSQL does not answer.
    """
    async with bootstrap.running(bootstrap.build_without_keys(_with_addresses({}))) as container:
        await wait_for(container, {"postgres"}, patience=0)
        status = await container.get_scheduler_status()()
    report = status.report
    leader = report.name if report else None
    problem = report.problem if report else None
    publishing = status.publishing_problem
    if json:
        shown = publishing and {"since": publishing.since.isoformat(), "error": publishing.error}
        console.show_json(
            {"leader": leader, "leads": status.leads, "problem": problem, "publishing": shown}
        )
    if not status.leads:
        raise NoLeader(leader, problem)
    if publishing:
        raise PublishingFails(str(leader), publishing.since, publishing.error)
    if not json:
        console.show(f"{leader} leads")


def _exec_celery(
    command: Sequence[str],
    given: Mapping[str, object],
    *,
    servers: Collection[str],
    patience: float,
) -> None:
    settings = _with_addresses(given)
    bootstrap.configure_logging(settings)
    asyncio.run(_ready(settings, servers, patience))
    # exec frees the memory that only this command needed: half of it.
    os.execv(sys.executable, [*_COMMAND, *command])  # noqa: S606 - ours


def _with_addresses(given: Mapping[str, object]) -> Settings:
    """Return the settings with the addresses of a running local stack, and export them to the environment."""
    settings, overrides = settings_here(**given)
    if settings.stores is Stores.MEMORY:
        raise NoServers
    # Celery's command finds the environment in the same way.
    export_to_environment(
        {name: value for name, value in overrides.items() if name != "environment"}
    )
    return settings


async def _ready(settings: Settings, servers: Collection[str], patience: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    async with bootstrap.running(bootstrap.build_without_keys(settings)) as container:
        await wait_for(
            container,
            servers,
            others=broker_probes(settings),
            patience=patience,
            report=console.say,
        )
        if not await is_current(container.schema(), patience=end - loop.time()):
            raise MigrationsMissing


async def is_current(schema: Schema, *, patience: float, pause: float = 0.5) -> bool:
    """Return whether the schema is current; raise `Unavailable` if the database does not answer for `patience` s.

    A database that answered a moment ago may be busy now.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        try:
            return await schema.is_current()
        except Unavailable:
            if loop.time() >= end:
                raise
            await asyncio.sleep(pause)
