"""Use cases get their ports, and units of work their repositories, by the types of their fields."""

from dataclasses import dataclass
from uuid import UUID

import pytest
from dependency_injector import containers, providers

import bootstrap
from adapters.repositories import UnresolvedRepositories, repositories_in
from adapters.system import SystemClock, Uuid7Generator
from application.ports.audit_log import AuditLog
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWork
from bootstrap import UnresolvedFields, wire
from tests.support.clock import MovableClock
from tests.support.world import IN_MEMORY


@dataclass(frozen=True, slots=True)
class SayTime:
    clock: Clock
    ids: IdGenerator
    batch: int = 7


@dataclass(frozen=True, slots=True)
class ReadLog:
    say: SayTime
    log: AuditLog


for use_case in (SayTime, ReadLog):
    use_case.__module__ = "application.use_cases.examples"


def test_a_field_gets_what_provides_its_type() -> None:
    class Container(containers.DeclarativeContainer):
        clock = providers.Singleton(SystemClock)
        ids = providers.Singleton(Uuid7Generator)
        say_time = providers.Factory(SayTime)

    assert wire(Container, {}) == ()
    container = Container()
    made = container.say_time()
    assert made == SayTime(container.clock(), container.ids())
    assert isinstance(made.ids.new(), UUID)


def test_a_field_that_is_named_is_left_alone() -> None:
    class Container(containers.DeclarativeContainer):
        clock = providers.Singleton(SystemClock)
        other_clock = providers.Singleton(MovableClock)
        ids = providers.Singleton(Uuid7Generator)
        say_time = providers.Factory(SayTime, clock=other_clock)

    assert wire(Container, {}) == ()
    assert isinstance(Container().say_time().clock, MovableClock)


def test_a_missing_or_ambiguous_type_is_named_with_its_use_case_and_field() -> None:
    class Container(containers.DeclarativeContainer):
        clock = providers.Singleton(SystemClock)
        other_clock = providers.Singleton(MovableClock)
        ids = providers.Singleton(Uuid7Generator)
        say_time = providers.Factory(SayTime)
        read_log = providers.Factory(ReadLog)

    assert wire(Container, {}) == (
        "SayTime.clock: Clock is provided by clock and other_clock",
        "ReadLog.log: AuditLog is provided by nothing",
    )


def test_a_container_with_such_a_field_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_UNRESOLVED", ("ReadLog.log: AuditLog is provided by nothing",))

    with pytest.raises(UnresolvedFields, match=r"ReadLog\.log: AuditLog is provided by nothing"):
        bootstrap.build_without_keys(IN_MEMORY)


def test_a_container_whose_units_of_work_lack_a_repository_is_not_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(UnitOfWork.__annotations__, "clock", Clock)
    repositories_in.cache_clear()

    with pytest.raises(
        UnresolvedRepositories, match=r"UnitOfWork\.clock: .*Clock is kept by nothing"
    ):
        bootstrap.build_without_keys(IN_MEMORY)

    repositories_in.cache_clear()
