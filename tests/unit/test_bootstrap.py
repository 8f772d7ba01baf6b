"""A container that could not build a use case or a unit of work is not built."""

import pytest

import bootstrap
from adapters.autowiring import UnresolvedFields
from adapters.repositories import UnresolvedRepositories, repositories_in
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWork
from tests.support.world import IN_MEMORY


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
