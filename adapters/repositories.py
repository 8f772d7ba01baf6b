"""Finds the repositories of a unit of work by the types of its fields."""

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, get_type_hints

from application.ports.unit_of_work import UnitOfWork


class UnresolvedRepositories(TypeError):
    """Fields of `UnitOfWork` for which a package has no repository, or more than one."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))


@cache
def repositories_in(package: str) -> Mapping[str, type[Any]]:
    """Return the class of each field of `UnitOfWork` by the field's name; raise `UnresolvedRepositories`.

    The class inherits the type of the field, and its module is named like the module of that port.
    """
    found, problems = dict[str, type[Any]](), []
    for field, port in get_type_hints(UnitOfWork).items():
        classes = _classes_in(package, port)
        if len(classes) == 1:
            found[field] = classes[0]
            continue
        names = " and ".join(cls.__name__ for cls in classes) or "nothing"
        problems.append(f"UnitOfWork.{field}: in {package}, {port.__name__} is kept by {names}")
    if problems:
        raise UnresolvedRepositories(problems)
    return found


def _classes_in(package: str, port: type) -> list[type[Any]]:
    file_name = port.__module__.rpartition(".")[2]
    return [
        cls
        for module in _modules_in(package)
        if module.rpartition(".")[2] == file_name
        for cls in vars(import_module(module)).values()
        if isinstance(cls, type) and port in cls.__mro__ and cls.__module__ == module
    ]


@cache
def _modules_in(package: str) -> Sequence[str]:
    path = import_module(package).__path__
    return [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
