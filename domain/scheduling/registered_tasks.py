"""The tasks that workers know: their names, what they take, and whether given arguments suit them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from domain.scheduling.json_values import Json


class ParameterKind(StrEnum):
    """How an argument reaches a parameter, by the names of `inspect.Parameter`."""

    POSITIONAL_ONLY = "positional_only"
    POSITIONAL_OR_KEYWORD = "positional_or_keyword"
    VAR_POSITIONAL = "var_positional"
    KEYWORD_ONLY = "keyword_only"
    VAR_KEYWORD = "var_keyword"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a task."""

    name: str
    kind: ParameterKind = ParameterKind.POSITIONAL_OR_KEYWORD
    required: bool = True
    annotation: str = ""
    """As written in the code; empty if nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredTask:
    """A task that can be scheduled."""

    name: str
    description: str = ""
    """The docstring."""
    parameters: tuple[Parameter, ...] = ()
    accepts_anything: bool = False
    """Whether nothing is known of its parameters (`typing=False`)."""

    def problems_with(self, args: Sequence[Json], kwargs: Mapping[str, Json]) -> Mapping[str, str]:
        """Return the problems of these arguments by field: `args`, `kwargs`, `kwargs.<name>`."""
        if self.accepts_anything:
            return {}
        problems: dict[str, str] = {}
        filled = self._filled_by_position(len(args))
        if filled is None:
            most = len(self._positional())
            problems["args"] = f"has {len(args)} values, but {self.name} takes {most} by position"
            filled = frozenset(parameter.name for parameter in self._positional())
        by_name = {p.name for p in self.parameters if p.kind in _BY_NAME}
        takes_any_name = any(p.kind is ParameterKind.VAR_KEYWORD for p in self.parameters)
        for name in kwargs:
            if name in filled and name in by_name:
                problems[f"kwargs.{name}"] = "is given by position too"
            elif name not in by_name and not takes_any_name:
                problems[f"kwargs.{name}"] = f"is no parameter of {self.name}"
        missing = [
            p.name
            for p in self.parameters
            if p.required
            and p.kind not in _VARIADIC
            and p.name not in filled
            and not (p.kind in _BY_NAME and p.name in kwargs)
        ]
        if missing:
            problems.setdefault("kwargs", f"lacks {', '.join(missing)}, which {self.name} needs")
        return problems

    def _positional(self) -> Sequence[Parameter]:
        return [p for p in self.parameters if p.kind in _BY_POSITION]

    def _filled_by_position(self, number: int) -> frozenset[str] | None:
        """Return the names of the parameters that this number of values fills, or None if there are too many."""
        positional = self._positional()
        takes_any_number = any(p.kind is ParameterKind.VAR_POSITIONAL for p in self.parameters)
        if number > len(positional) and not takes_any_number:
            return None
        return frozenset(parameter.name for parameter in positional[:number])


_BY_POSITION = frozenset({ParameterKind.POSITIONAL_ONLY, ParameterKind.POSITIONAL_OR_KEYWORD})
_BY_NAME = frozenset({ParameterKind.POSITIONAL_OR_KEYWORD, ParameterKind.KEYWORD_ONLY})
_VARIADIC = frozenset({ParameterKind.VAR_POSITIONAL, ParameterKind.VAR_KEYWORD})
