"""A unit of work finds its repositories by the types of its fields."""

from pathlib import Path
from typing import get_type_hints

import pytest

from adapters.repositories import UnresolvedRepositories, repositories_in
from application.ports.unit_of_work import UnitOfWork


@pytest.mark.parametrize("package", ["adapters.memory", "adapters.postgres"])
def test_each_field_has_the_class_of_the_package_that_inherits_its_type(package: str) -> None:
    found = repositories_in(package)

    assert found.keys() == get_type_hints(UnitOfWork).keys()
    for field, port in get_type_hints(UnitOfWork).items():
        assert port in found[field].__mro__
        assert found[field].__module__.startswith(package)


def test_a_missing_or_ambiguous_repository_is_named_with_its_field(package: Path) -> None:
    (package / "users.py").write_text(
        "from application.ports.users import UserRepository\n"
        "class OneUserRepository(UserRepository): ...\n"
        "class OtherUserRepository(UserRepository): ...\n"
    )

    with pytest.raises(UnresolvedRepositories) as refusal:
        repositories_in(package.name)

    problems = str(refusal.value).split("; ")
    assert (
        f"UnitOfWork.users: in {package.name}, UserRepository is kept by "
        "OneUserRepository and OtherUserRepository"
    ) in problems
    assert f"UnitOfWork.outbox: in {package.name}, Outbox is kept by nothing" in problems
    assert len(problems) == len(get_type_hints(UnitOfWork))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty package that can be imported."""
    package = tmp_path / "adapters_of_nothing"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return package
