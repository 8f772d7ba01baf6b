"""Imports of what a process does not use."""

import importlib
import json
import sys

import pytest

from adapters.injection import absent


def test_a_module_is_absent_in_the_block_although_it_was_loaded_before() -> None:
    with absent("json", "no_such_module"):
        with pytest.raises(ImportError):
            importlib.import_module("json")
        with pytest.raises(ImportError):
            importlib.import_module("no_such_module")

    assert sys.modules["json"] is json
    assert "no_such_module" not in sys.modules
