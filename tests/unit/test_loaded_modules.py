"""No process loads what it does not use: memory, and the time of its start."""

import subprocess
import sys
from collections.abc import Iterable

import pytest

from adapters.injection import Later
from bootstrap import Container

HTTP = {"fastapi", "starlette", "uvicorn"}
CELERY = {"celery", "kombu"}
DOCUMENTS = {"motor", "pymongo", "bson"}
FILES = {"aioboto3", "aiobotocore", "boto3", "botocore", "aiohttp"}
CLIENTS = {"requests", "httpx", "websocket"}
SECRETS = {"argon2", "zxcvbn", "jose"}
SHELLS = {"prompt_toolkit", "click_repl"}
METRICS = {"prometheus_client"}
TESTS = {"werkzeug", "pytest"}
COLOURS = {"rich", "pygments"}
ORM = {"sqlalchemy.orm"}
TRACES = {"opentelemetry.sdk", "opentelemetry.exporter", "adapters.observability.traces"}
ANYWHERE = TESTS | COLOURS | METRICS | ORM | TRACES
OURS = {"domain", "application", "adapters", "bootstrap", "local_stack"}
WORKER = "entrypoints.celery.command, entrypoints.celery.app"


@pytest.mark.parametrize(
    ("modules", "unused"),
    [
        (
            f"{WORKER}, entrypoints.celery.tasks",
            HTTP | DOCUMENTS | FILES | SECRETS | SHELLS,
        ),
        (
            f"{WORKER}, entrypoints.celery.scheduler",
            HTTP | DOCUMENTS | FILES | SECRETS | SHELLS,
        ),
        (
            "entrypoints.cli.api, entrypoints.api_process",
            CELERY | FILES | CLIENTS | {"zxcvbn", "alembic", "yaml"},
        ),
        ("entrypoints.celery.broker", OURS | HTTP | SECRETS | {"sqlalchemy", "pydantic"}),
        ("entrypoints.cli.main", HTTP | CELERY | DOCUMENTS | FILES | SECRETS | {"sqlalchemy"}),
        ("entrypoints.cli.app", HTTP | CELERY | DOCUMENTS | FILES | SECRETS | {"sqlalchemy"}),
    ],
)
def test_a_process_loads_only_what_it_uses(modules: str, unused: set[str]) -> None:
    code = f"import sys; import {modules}; print(*sys.modules)"
    loaded = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert (unused | ANYWHERE) & {*loaded} == set()


def later_ones() -> list[Later]:
    """Return what the container imports at its first use."""
    providers: Iterable[object] = Container.traverse()  # type: ignore[call-overload]  # its types want an argument
    made = (getattr(provider, "cls", None) for provider in providers)
    return [each for each in made if isinstance(each, Later)]


@pytest.mark.parametrize("later", later_ones(), ids=lambda later: later.name)
def test_a_part_that_is_imported_later_provides_its_type(later: Later) -> None:
    assert later.provides in later.made.__mro__
