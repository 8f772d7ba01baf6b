"""How the message of a periodic task is published. Only the system that carries it knows which options there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.json_values import Json, is_number, is_object, problem_with_json

SHORTEST_EXPIRY = timedelta(seconds=1)
LONGEST_EXPIRY = timedelta(days=366)

OptionsCheck: TypeAlias = Callable[[Mapping[str, Json]], Mapping[str, str]]
"""Returns the problems of options by name, for the system that carries the message."""


def unchecked(_given: Mapping[str, Json]) -> Mapping[str, str]:
    """Take all options that the domain takes."""
    return {}


@dataclass(frozen=True, slots=True)
class PublishingOptions:
    """Options of a message, as JSON: only those that are given. The configuration decides all others."""

    given: Mapping[str, Json] = field(default_factory=dict[str, Json], hash=False)

    def __post_init__(self) -> None:
        _refuse(_problems(self.given))
        object.__setattr__(self, "given", dict(self.given))

    @property
    def expires(self) -> timedelta | None:
        """How long the message may wait for a worker, if that was given (`expires`, in seconds)."""
        seconds = self.given.get("expires")
        return timedelta(seconds=seconds) if is_number(seconds) else None


def read_options(value: object, check: OptionsCheck) -> PublishingOptions:
    """Return the options that plain data says; raise `InvalidDefinition` with everything that is wrong with them."""
    given: Mapping[str, Json] = value  # type: ignore[assignment]  # both look at everything in there
    _refuse({**_problems(given), **check(given)})
    return PublishingOptions(given)


def _problems(given: object) -> dict[str, str]:
    if not is_object(given):
        raise InvalidDefinition({"options": "must be an object"})
    problems = {
        str(name): problem_with_json(name) or problem_with_json(value)
        for name, value in given.items()
    }
    if "expires" in given:
        problems["expires"] = _problem_with_expiry(given["expires"])
    return {name: problem for name, problem in problems.items() if problem}


def _problem_with_expiry(seconds: object) -> str | None:
    lowest, highest = (int(end.total_seconds()) for end in (SHORTEST_EXPIRY, LONGEST_EXPIRY))
    if is_number(seconds) and lowest <= seconds <= highest:
        return None
    return f"must be a number from {lowest} to {highest}"


def _refuse(problems: Mapping[str, str]) -> None:
    if problems:
        raise InvalidDefinition(
            {f"options.{name[:50]}": problem for name, problem in problems.items()}
        )
