"""Gives use cases their ports, which it finds by the types of their fields."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adapters.injection import Later, containers, providers


class UnresolvedFields(TypeError):
    """Fields of use cases for which the container has no provider, or more than one."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))


def wire(
    container: type[containers.DeclarativeContainer], given: Mapping[Any, providers.Provider[Any]]
) -> tuple[str, ...]:
    """Give each use case what its fields are annotated with; return what is missing or ambiguous.

    A provider provides its class and the ports which that class inherits; a selector, what all its choices inherit.
    `given` has the providers of types that no class inherits. Fields that have a default or a keyword are left alone.
    """
    found: dict[Any, list[tuple[str, providers.Provider[Any]]]] = defaultdict(list)
    for type_, provider in given.items():
        found[type_].append((str(type_), provider))
    for name, provider in container.providers.items():
        for type_ in _provided_types(provider):
            found[type_].append((name, provider))
    problems = []
    for use_case, field in _unfilled_fields(container):
        candidates = found[field.type]
        if len(candidates) == 1:
            use_case.add_kwargs(**{field.name: candidates[0][1]})
            continue
        type_name = getattr(field.type, "__name__", field.type)
        names = " and ".join(name for name, _ in candidates) or "nothing"
        problems.append(f"{use_case.cls.__name__}.{field.name}: {type_name} is provided by {names}")
    return tuple(problems)


def _provided_types(provider: providers.Provider[Any]) -> set[type]:
    if isinstance(provider, providers.Selector):
        return set.intersection(*map(_provided_types, provider.providers.values()))
    if isinstance(provider, providers.Factory | providers.BaseSingleton):
        made: object = provider.cls
        return set(getattr(made.provides if isinstance(made, Later) else made, "__mro__", ()))
    return set()


def _unfilled_fields(
    container: type[containers.DeclarativeContainer],
) -> Iterator[
    tuple[providers.Factory[Any] | providers.BaseSingleton[Any], "dataclasses.Field[Any]"]
]:
    for provider in container.providers.values():
        use_case = getattr(provider, "cls", None)
        if (
            isinstance(provider, providers.Factory | providers.BaseSingleton)
            and isinstance(use_case, type)
            and use_case.__module__.startswith("application.use_cases.")
        ):
            for field in dataclasses.fields(use_case):
                has_default = (
                    field.default is not dataclasses.MISSING
                    or field.default_factory is not dataclasses.MISSING
                )
                if not has_default and field.name not in provider.kwargs:
                    yield provider, field
