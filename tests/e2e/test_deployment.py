"""What is deployed: the production lock alone, in an environment of its own, without the tree and its tools."""

import ast
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from local_stack.servers import choose_ports
from tests.e2e.client import Client
from tests.e2e.command import Started, portico, starting
from tests.e2e.fleet import created, dropped, flushed
from tests.e2e.jobs import EACH_SECOND
from tests.support.plain_http import NO_TLS
from tests.support.servers import Servers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # a machine without a cache of uv fetches every wheel

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "requirements-build.lock"
PACKAGES = ("domain", "application", "adapters", "entrypoints", "local_stack", "migrations")
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
OF_THE_OPERATOR = {
    "PORTICO_ISSUER": "https://portico.example.org",
    "PORTICO_S3_PUBLIC_URL": "https://files.example.org",
}

# What Kombu, Celery, uvicorn and SQLAlchemy import when a setting or an address asks for it.
BY_NAME = (
    "kombu.transport.redis",
    "kombu.transport.pyamqp",
    "celery.backends.redis",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "uvicorn.loops.uvloop",
    "uvloop",
    "httptools",
    "tzdata.zoneinfo",
    "ephem",
    "dns.resolver",  # mongodb+srv://
    "multipart",
)

TASKS = """
from entrypoints.celery.app import app

@app.task(name="shop.double")
async def double(number: int) -> int:
    return 2 * number
"""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of programs of an environment with the production lock and the wheel of this tree."""
    directory = tmp_path_factory.mktemp("deployed")
    source = directory / "source"
    # Built from a copy: setuptools leaves files beside what it builds, and takes in what it finds there.
    for name in (*PACKAGES, "bootstrap.py", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    uv = str(Path(sys.executable).with_name("uv"))
    programs = directory / "environment" / "bin"
    into = ("--quiet", "--python", str(programs / "python"))
    for command in (
        ("venv", "--quiet", "--python", sys.executable, str(programs.parent)),
        ("pip", "sync", *into, "--require-hashes", str(ROOT / "requirements.lock")),
        ("pip", "install", *into, "--no-deps", *("--build-constraints", str(BUILD)), str(source)),
    ):
        ran = subprocess.run([uv, *command], check=False, capture_output=True, text=True)  # noqa: S603 - ours
        assert ran.returncode == 0, ran.stderr
    return programs


def test_every_import_of_the_code_is_in_the_production_lock(deployed: Path) -> None:
    """Not only what a start imports: also what a function does when it is called, and what a setting names."""
    wanted = sorted({*_modules(), *_imported_anywhere(), *BY_NAME})

    tried = subprocess.run(  # noqa: S603 - ours
        [deployed / "python", "-I", "-c", _IMPORT_EACH, *wanted],
        check=False,
        capture_output=True,
        text=True,
    )

    assert tried.stdout == "", tried.stderr
    assert tried.returncode == 0


_IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(f"{name}: {error}")
"""


def _modules() -> Iterator[str]:
    """Yield every module of ours, but the one that only alembic can load."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if name != "migrations.env":
                yield name.removesuffix(".__init__")


def _imported_anywhere() -> Iterator[str]:
    """Yield what any of our modules imports, wherever in it, except for type checkers."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            yield from _imports(ast.parse(path.read_text()))


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


class Composed:
    """The services of compose.yaml that are ours, as processes: their commands, settings, secrets and health checks."""

    def __init__(self, program: Path, directory: Path, **places: str) -> None:
        self._program = str(program)
        self._directory = directory
        self._places = places
        """What differs from containers: addresses, ports, and where tasks are found."""
        self.secrets = directory / "secrets"
        self.port = choose_ports(("http",), {})["http"]

    def variables(self, service: str) -> dict[str, str]:
        return {
            variable: self._in_place(str(value))
            for variable, value in SERVICES[service]["environment"].items()
        } | {"PORTICO_HTTP_PORT": str(self.port), **self._places}

    def run(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in the container of that name."""
        container = self._directory / service
        container.mkdir(exist_ok=True)
        name = re.sub(r"-\d+$", "", service)
        variables = self.variables(name)
        return portico(*command, directory=container, program=self._program, **variables)

    def start(self, service: str, stack: ExitStack) -> Iterator[Started]:
        """Start as many processes as it has replicas, each with a directory of its own."""
        for number in range(SERVICES[service].get("deploy", {}).get("replicas", 1)):
            container = self._directory / f"{service}-{number}"
            container.mkdir()
            yield stack.enter_context(
                starting(
                    *SERVICES[service]["command"],
                    directory=container,
                    program=self._program,
                    **self.variables(service),
                )
            )

    def _in_place(self, value: str) -> str:
        given = re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", self._substituted, value)
        return given.replace("/run/secrets", str(self.secrets))

    def _substituted(self, found: re.Match[str]) -> str:
        return OF_THE_OPERATOR.get(found[1], found[2])


@pytest.fixture
def composed(servers: Servers, worker: int, deployed: Path, tmp_path: Path) -> Composed:
    """Return the services with their secrets, their tasks, and servers that answer."""
    (tmp_path / "shop.py").write_text(TASKS)
    name = f"portico_deployed_{worker}"
    composed = Composed(
        deployed / "portico",
        tmp_path,
        PORTICO_HTTP_HOST="127.0.0.1",
        PORTICO_METRICS_HOST="127.0.0.1",
        PORTICO_METRICS_PORT="0",
        PORTICO_S3_URL=servers.s3_url,
        PORTICO_S3_BUCKET=servers.s3_bucket,
        PORTICO_S3_ACCESS_KEY=servers.s3_access_key,
        PORTICO_MONGO_DATABASE=dropped(servers.mongo_url, name),
        PORTICO_TASK_MODULES="shop",
        PORTICO_WORKER_CONCURRENCY="1",
        PYTHONPATH=str(tmp_path),
    )
    made = portico("make-secrets", "secrets", directory=tmp_path, program=str(deployed / "portico"))
    assert made.returncode == 0, made.stderr
    for secret, value in {
        "postgres_url": created(servers.postgres_url, name),
        "redis_url": flushed(servers, worker),
        "mongo_url": servers.mongo_url,
        "s3_secret_key": servers.s3_secret_key,
    }.items():
        (composed.secrets / secret).unlink()
        (composed.secrets / secret).write_text(value)
    return composed


def in_the_order_of_their_start() -> Iterator[str]:
    """Yield the services of ours, each after those that it depends on."""
    ours = {name: {*s["depends_on"]} for name, s in SERVICES.items() if "build" in s}
    yield from (name for name in TopologicalSorter(ours).static_order() if name in ours)


@pytest.mark.server
def test_the_services_of_compose_work_and_are_healthy(deployed: Path, composed: Composed) -> None:
    """From the production lock. A task that is published by hand has a result; one of the beat has run."""
    with ExitStack() as stack:
        started: dict[str, list[Started]] = {}
        for name in in_the_order_of_their_start():
            if SERVICES[name]["restart"] == "no":
                ran = composed.run(name, *SERVICES[name]["command"])
                assert ran.returncode == 0, ran.stderr
            else:
                started[name] = [*composed.start(name, stack)]
        (api,), (worker,) = started["api"], started["worker"]
        assert len(started["beat"]) == 2
        api.wait_until(lambda: _is_ready(composed.port))
        doubled = subprocess.run(  # noqa: S603 - ours
            [
                deployed / "python",
                "-c",
                "import shop; print(shop.double.delay(21).get(timeout=60))",
            ],
            check=False,
            cwd=worker.directory,
            env=composed.variables("worker"),
            capture_output=True,
            text=True,
        )
        assert doubled.stdout == "42\n", doubled.stderr
        password = (composed.secrets / "administrator_password").read_text()
        runs = _runs_of_a_periodic_task(composed.port, password)
        assert {run["state"] for run in runs} == {"succeeded"}

        for name, processes in started.items():
            _, program, *check = SERVICES[name]["healthcheck"]["test"]
            assert program == "portico"
            for process in processes:
                checked = composed.run(process.directory.name, *check)
                assert checked.returncode == 0, checked.stdout + checked.stderr
        _assert_scraped_with_the_token_alone(worker, composed.secrets / "metrics_token")

        doctor = composed.run("api-0", "doctor", "--json")
        findings = {each["check"]: each for each in json.loads(doctor.stdout)["findings"]}
        assert doctor.returncode == 0, doctor.stdout
        assert findings["port"]["detail"].endswith("our API listens, with our keys")
        assert "celery@" in findings["workers"]["detail"]
        assert findings["beat"]["detail"].endswith(" leads")
        assert findings["keys"]["detail"].endswith(" is 0 days old")


def _assert_scraped_with_the_token_alone(process: Started, token: Path) -> None:
    """Prometheus comes from another address, as what a proxy passes on does."""
    address = re.findall(r"metrics at (http://[^\s\"]+)", process.said())[-1]
    answers = [
        httpx.get(address, headers={"Via": "1.1 proxy", **headers}, verify=NO_TLS)
        for headers in ({}, {"Authorization": f"Bearer {token.read_text()}"})
    ]
    assert [answer.status_code for answer in answers] == [403, 200]
    assert 'portico_tasks_total{outcome="success",task="shop.double"} 2.0' in answers[1].text


def _runs_of_a_periodic_task(port: int, password: str) -> list[dict[str, Any]]:
    """Return the runs of a task that the beat publishes once, when one has ended."""
    client = Client(f"http://127.0.0.1:{port}/api/v1")
    plaintext = json.dumps({"p": password, "t": time.time_ns() // 1_000_000})
    client.log_in("admin", plaintext)
    body = {"name": "double", "task": "shop.double", "args": [21], "maxRuns": 1, **EACH_SECOND}
    task = client.data(client.http.post("/periodic-tasks", json=body), status=201)["id"]

    def ended() -> list[dict[str, Any]]:
        runs = client.data(client.http.get(f"/periodic-tasks/{task}/runs"))["records"]
        return [run for run in runs if run["finishedAt"]]

    with closing(client.http):
        return list(wait_until(ended))


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False
