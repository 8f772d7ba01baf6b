"""The private names that `entrypoints.celery.internals` uses: an upgrade that moves one fails by its name.

This module imports nothing of `entrypoints`: the import itself would fail, and name only the first.
"""

import ast
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from amqp import Connection
from celery import Celery, Task
from celery.schedules import crontab

ROOT = Path(__file__).parents[4]
INTERNALS = "entrypoints/celery/internals.py"
LIBRARIES = {"amqp", "billiard", "celery", "kombu", "vine"}


@dataclass(frozen=True)
class Private:
    """A name that a library does not promise to keep, and what we rely on."""

    path: str
    """`module:name`, or `module:Class.name`."""
    parameters: str = ""
    """Those of its signature that we give, or that an override of ours takes."""
    members: str = ""
    """Its attributes that we use."""

    @property
    def name(self) -> str:
        return self.path.replace(":", ".").rpartition(".")[2]

    def found(self) -> Any:
        module, _, names = self.path.partition(":")
        found = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
        return found


IMPORTED = [
    Private("billiard.common:terminate_handler_fired"),
    Private("celery._state:_task_stack", members="push pop stack top"),
    Private("celery.app.trace:TraceInfo", "state retval"),
    Private("celery.app.trace:trace_ok_t", "retval info runtime retstr"),
    Private("celery.local:maybe_evaluate", "obj"),
    Private("celery.result:denied_join_result"),
    Private("celery.utils.serialization:get_pickleable_exception", "exc"),
    Private(
        "celery.utils.threads:_LocalStack",
        members="push pop stack top __ident_func__ __release_local__",
    ),
    Private("kombu.common:ignore_errors", "conn fun"),
    Private("kombu.transport:TRANSPORT_ALIASES", members="__setitem__"),
]
METHODS = [
    Private("amqp.channel:Channel._on_close", "self reply_code reply_text class_id method_id"),
    Private("celery.app.base:Celery._load_config", "self"),
    Private("celery.app.base:Celery._task_from_fun", "self fun name base options"),
    Private("celery.app.task:Task.__trace__"),
    Private("celery.app.task:Task._get_exec_options", "self"),
    Private("celery.app.trace:TraceInfo.handle_error_state", "self task req"),
    Private("celery.utils.threads:_LocalStack.__ident_func__", members="fget fset"),
    Private("celery.utils.threads:_LocalStack.__release_local__", "self"),
    Private("celery.worker.request:Request._already_cancelled"),
    Private(
        "celery.worker.request:Request._announce_revoked", "self reason terminated signum expired"
    ),
    Private("celery.worker.request:Request._retry_worker_lost", "self exc exc_info"),
    Private("kombu.transport.redis:Channel._create_client", "self"),
]


def a_task_that_retries_by_itself() -> Task[..., Any]:
    app = Celery("names", set_as_current=False)

    @app.task(autoretry_for=(LookupError,), shared=False)
    def work(number: int) -> None: ...

    return app.tasks[work.name]


# Attributes that only instances have, with what is in them.
ATTRIBUTES: dict[str, tuple[Callable[[], object], Callable[[Any], bool]]] = {
    "_orig_day_of_month": (lambda: crontab(day_of_month="1-7"), lambda value: value == "1-7"),
    "_orig_day_of_week": (lambda: crontab(day_of_week="mon"), lambda value: value == "mon"),
    "_orig_hour": (lambda: crontab(hour=[3, 4]), lambda value: value == [3, 4]),
    "_orig_minute": (lambda: crontab(minute=5), lambda value: value in {5, "5"}),
    "_orig_month_of_year": (lambda: crontab(month_of_year="*/2"), lambda value: value == "*/2"),
    "_orig_run": (
        a_task_that_retries_by_itself,
        lambda value: [*inspect.signature(value).parameters] == ["number"],
    ),
    "_pending_defaults": (
        lambda: Celery("names", set_as_current=False),
        lambda value: len(value) == 0 and callable(value.append),
    ),
    "_transport": (lambda: Connection("localhost"), lambda value: value is None),
}


@pytest.mark.parametrize("private", [*IMPORTED, *METHODS], ids=lambda private: private.path)
def test_a_private_name_is_where_it_was_and_takes_what_it_took(private: Private) -> None:
    found = private.found()

    if private.parameters:
        assert set(private.parameters.split()) <= inspect.signature(found).parameters.keys()
    assert [name for name in private.members.split() if not hasattr(found, name)] == []


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_private_attribute_holds_what_it_held(name: str) -> None:
    make, suits = ATTRIBUTES[name]

    assert suits(getattr(make(), name))


def test_parameters_of_an_override_have_the_order_of_the_original() -> None:
    for private in METHODS:
        if len(private.parameters.split()) > 3:
            found = [*inspect.signature(private.found()).parameters]
            assert [name for name in found if name in private.parameters.split()] == (
                private.parameters.split()
            )


# --- the code ---


def tree(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text())


def imported_names(source: str) -> set[str]:
    """Return what a file imports of the libraries and is private: by its name, by `__all__`, or from the list."""
    known = {private.name for private in IMPORTED}
    return {
        alias.name
        for node in ast.walk(tree(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES
        for alias in node.names
        if alias.name in known
        or is_private(alias.name)
        or "._" in f"{node.module}.{alias.name}"
        or is_unlisted(importlib.import_module(node.module or ""), alias.name)
    }


def is_unlisted(module: ModuleType, name: str) -> bool:
    """Tell whether the module says what it exports, and this is no part of it (submodules never are)."""
    exported = getattr(module, "__all__", (name,))
    return name not in exported and not inspect.ismodule(getattr(module, name))


def used_names(source: str) -> set[str]:
    """Return the private attributes that a file reads, sets, defines or asks for by name."""
    found: set[str] = set()
    for node in ast.walk(tree(source)):
        match node:
            case ast.Attribute(attr=name) | ast.FunctionDef(name=name):
                found.add(name)
            case ast.Constant(value=str(name)) if name.isidentifier():
                found.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case _:
                pass
    return {name for name in found if is_private(name)}


def is_private(name: str) -> bool:
    return name.startswith("_") and name not in {"__init__", "__name__", "__traceback__"}


OWN = {"_tracer"}
OTHERS = sorted(
    source
    for folder in ("adapters", "entrypoints", "bootstrap.py", "benchmarks")
    for path in ([ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py"))
    if (source := str(path.relative_to(ROOT))) != INTERNALS
)


def test_every_private_name_that_is_used_has_a_case() -> None:
    attributes = {private.name for private in METHODS if is_private(private.name)}

    assert imported_names(INTERNALS) == {private.name for private in IMPORTED}
    assert used_names(INTERNALS) - OWN == attributes | ATTRIBUTES.keys()


@pytest.mark.parametrize("source", OTHERS)
def test_no_other_module_imports_a_private_name_of_celery(source: str) -> None:
    assert imported_names(source) == set()


@pytest.mark.parametrize(
    "source",
    [each for each in OTHERS if each.startswith("entrypoints/celery/")],
)
def test_no_other_module_uses_a_private_attribute_of_celery(source: str) -> None:
    known = {private.name for private in METHODS} | ATTRIBUTES.keys()

    assert used_names(source) & known == set()
