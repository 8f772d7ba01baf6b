"""Periodic tasks as their users have them: an administrator's client of a running `portico run`, and waiting."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.command import Started, addresses, environment, running
from tests.e2e.fleet import dropped, flushed, migrated
from tests.support.plain_http import NO_TLS
from tests.support.servers import Servers

ROOT = Path(__file__).parents[2]
TASKS = "/api/v1/periodic-tasks"
EACH_SECOND = {"kind": "interval", "schedule": {"every": 1, "period": "seconds"}}
_numbers = count(1)


def settings_of(servers: Servers, name: str, worker: int, **others: str) -> dict[str, str]:
    """Return the settings of API, worker and beat: databases of that name, and the tasks of the tests."""
    name = f"portico_{name}_{worker}"
    return addresses(
        servers,
        PORTICO_POSTGRES_URL=migrated(servers.postgres_url, name),
        PORTICO_REDIS_URL=flushed(servers, worker),
        PORTICO_MONGO_DATABASE=dropped(servers.mongo_url, name),
        PORTICO_ADMIN_USERNAME="grace",
        PORTICO_ADMIN_PASSWORD="correct horse battery staple",
        PORTICO_WORKER_CONCURRENCY="2",
        PORTICO_METRICS_PORT="0",
        PORTICO_TASK_MODULES="tests.e2e.job_tasks",
        PYTHONPATH=os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),  # noqa: TID251
        **others,
    )


@dataclass(frozen=True, slots=True)
class Portico:
    """A running `portico run`, and a client of its administrator."""

    stack: Started
    http: httpx.Client
    variables: dict[str, str]

    def make(self, **fields: Any) -> str:
        """Make a periodic task that runs each second by default; return its path."""
        body = {"name": f"task {next(_numbers)}", "task": "test.note", **EACH_SECOND, **fields}
        return f"{TASKS}/{self.data(self.http.post(TASKS, json=body))['id']}"

    def data(self, response: httpx.Response) -> Any:
        assert response.is_success, response.text
        return response.json()["data"]

    def change(self, task: str, **fields: Any) -> Any:
        return self.data(self.http.patch(task, json=fields))

    def python(self, code: str, directory: Path) -> None:
        """Run what an operator types into Python; `app` is the application."""
        subprocess.run(  # noqa: S603 - ours
            [sys.executable, "-c", f"from entrypoints.celery.app import app\n{code}"],
            check=True,
            env=environment(directory, **self.variables),
            timeout=60,
        )

    def runs(self, task: str) -> list[dict[str, Any]]:
        """Return the runs of a task, newest first."""
        runs: list[dict[str, Any]] = self.data(self.http.get(f"{task}/runs"))["records"]
        return runs

    def ended(self, task: str) -> list[dict[str, Any]]:
        """Return those that have ended and of which all is noted."""
        return [run for run in self.runs(task) if run["finishedAt"] and run["publishedAt"]]


@contextmanager
def portico_running(directory: Path, variables: dict[str, str]) -> Iterator[Portico]:
    """Start everything, and log its administrator in."""
    form = {
        "username": variables["PORTICO_ADMIN_USERNAME"],
        "password": variables["PORTICO_ADMIN_PASSWORD"],
    }
    with (
        running(directory, **variables) as stack,
        httpx.Client(base_url=stack.block["API"], verify=NO_TLS, timeout=30) as http,
    ):
        token = http.post("/api/v1/auth/login/swagger", data=form).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        # They come after the API.
        stack.wait_until(lambda: "worker is ready" in stack.said())
        stack.wait_until(lambda: "beat is ready" in stack.said())
        yield Portico(stack, http, variables)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
