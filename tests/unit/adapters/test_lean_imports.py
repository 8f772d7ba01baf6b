"""Imports of what a process does not use."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.lean_imports import absent, import_without


def test_a_module_is_absent_in_the_block_although_it_was_loaded_before() -> None:
    with absent("json", "no_such_module"):
        with pytest.raises(ImportError):
            importlib.import_module("json")
        with pytest.raises(ImportError):
            importlib.import_module("no_such_module")

    assert sys.modules["json"] is json
    assert "no_such_module" not in sys.modules


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of a package that hands on names of two submodules."""
    name = "a_package_of_two"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(
        "from .light import CORE\nfrom .heavy import MORE\n"
    )
    (tmp_path / name / "light.py").write_text("CORE = 1\n")
    (tmp_path / name / "heavy.py").write_text("MORE = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


def test_a_package_is_imported_without_a_submodule_until_it_is_asked_for_a_name_of_it(
    package: str,
) -> None:
    import_without(package, "heavy")

    imported = importlib.import_module(package)
    assert imported.CORE == 1
    assert f"{package}.heavy" not in sys.modules
    assert imported.MORE == 2
    assert f"{package}.heavy" in sys.modules
    with pytest.raises(AttributeError, match="no attribute 'OTHER'"):
        _ = imported.OTHER


def test_a_package_that_is_loaded_stays_as_it_is(package: str) -> None:
    importlib.import_module(package)

    import_without(package, "heavy")

    assert f"{package}.heavy" in sys.modules
    assert importlib.import_module(f"{package}.heavy").MORE == 2
