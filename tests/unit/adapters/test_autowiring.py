"""Use cases get their ports by the types of their fields."""

from dataclasses import dataclass
from uuid import UUID

from dependency_injector import containers, providers

from adapters.autowiring import wire
from adapters.system import SystemClock, Uuid7Generator
from application.ports.audit_log import AuditLog
from application.ports.system import Clock, IdGenerator
from tests.support.clock import MovableClock


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
