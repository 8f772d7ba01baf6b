"""What is deployed: the production lock alone, in an environment of its own, without the tree and its tools."""

import ast
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.servers import choose_ports
from tests.e2e.client import Client
from tests.e2e.command import Started, addresses, portico, starting
from tests.e2e.fleet import created, dropped, flushed
from tests.e2e.jobs import EACH_SECOND
from tests.support.plain_http import NO_TLS
from tests.support.servers import Servers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # a machine without a cache of uv fetches every wheel

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "requirements-build.lock"
PACKAGES = ("domain", "application", "adapters", "entrypoints", "local_stack", "migrations")
PASSWORD = "correct horse battery staple"

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


@pytest.fixture
def variables(servers: Servers, worker: int, deployed: Path, tmp_path: Path) -> dict[str, str]:
    """Return the settings of a deployment: PRODUCTION, its keys, its tasks, and servers that answer."""
    keys = tmp_path / "keys"
    made = portico("make-keys", str(keys), directory=tmp_path, program=str(deployed / "portico"))
    assert made.returncode == 0, made.stderr
    (tmp_path / "shop.py").write_text(TASKS)
    name = f"portico_deployed_{worker}"
    return addresses(
        servers,
        ENVIRONMENT="PRODUCTION",
        PORTICO_POSTGRES_URL=created(servers.postgres_url, name),
        PORTICO_REDIS_URL=flushed(servers, worker),
        PORTICO_MONGO_DATABASE=dropped(servers.mongo_url, name),
        PORTICO_KEYS_DIR=str(keys),
        PORTICO_ISSUER="https://portico.example.org",
        PORTICO_ADMIN_USERNAME="grace",
        PORTICO_ADMIN_PASSWORD=PASSWORD,
        PORTICO_TASK_MODULES="shop",
        PORTICO_WORKER_CONCURRENCY="1",
        PYTHONPATH=str(tmp_path),
    )


@pytest.mark.server
def test_api_worker_and_beat_run_from_the_production_lock(
    deployed: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    """A task that is published by hand has a result, and one that is published by the beat has run."""
    program = str(deployed / "portico")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return portico(*arguments, directory=tmp_path, program=program, **variables)

    for preparation in ("migrate", "create-admin"):
        ran = run(preparation)
        assert ran.returncode == 0, ran.stderr
    port = choose_ports(("http",), {})["http"]
    with ExitStack() as stack:
        started: dict[str, Started] = {}
        for command in (("api", "--port", str(port)), ("worker",), ("beat",)):
            directory = tmp_path / command[0]
            directory.mkdir()
            started[command[0]] = stack.enter_context(
                starting(*command, directory=directory, program=program, **variables)
            )
        started["api"].wait_until(lambda: _is_ready(port))
        doubled = subprocess.run(  # noqa: S603 - ours
            [
                deployed / "python",
                "-c",
                "import shop; print(shop.double.delay(21).get(timeout=60))",
            ],
            check=False,
            cwd=tmp_path,
            env={**variables},
            capture_output=True,
            text=True,
        )
        assert doubled.stdout == "42\n", doubled.stderr
        assert {run["state"] for run in _runs_of_a_periodic_task(port)} == {"succeeded"}

        for check in (("worker", "--check"), ("beat", "--check")):
            checked = run(*check)
            assert checked.returncode == 0, checked.stdout + checked.stderr

        variables["PORTICO_HTTP_PORT"] = str(port)
        doctor = run("doctor", "--json")
        findings = {each["check"]: each for each in json.loads(doctor.stdout)["findings"]}
        assert doctor.returncode == 0, doctor.stdout
        assert findings["port"]["detail"].endswith("our API listens, with our keys")
        assert "celery@" in findings["workers"]["detail"]
        assert findings["beat"]["detail"].endswith(" leads")


def _runs_of_a_periodic_task(port: int) -> list[dict[str, Any]]:
    """Return the runs of a task that the beat publishes once, when one has ended."""
    client = Client(f"http://127.0.0.1:{port}/api/v1")
    plaintext = json.dumps({"p": PASSWORD, "t": time.time_ns() // 1_000_000})
    client.log_in("grace", plaintext)
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
