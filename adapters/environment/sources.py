"""Where values come from: the process environment, then `.env.<environment>`, then `.env`; and secret files."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

from adapters.environment.variables import FALLBACKS, PREFIX, SECRET_FILES, VARIABLES
from application.setting_problems import Problem
from application.settings import Environment

_PREFIX_OF_TESTS = "PORTICO_TEST_"


def read(environment: object) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values by variable, and the problems of the sources."""
    problems: list[Problem] = []
    values = merged(environment, problems)
    problems += _open_secret_files(values)
    return values, problems


def merged(environment: object, problems: list[Problem]) -> dict[str, Any]:
    """Return the values by variable, a path for each secret that has a file; add the problems of the sources."""
    process, general = _process(), _dotenv(Path(".env"), problems)
    environment = environment or _named(process, general)
    special: dict[str, str] = {}
    if str(environment).upper() in Environment.__members__:
        special = _dotenv(Path(f".env.{str(environment).lower()}"), problems)

    values: dict[str, Any] = {}
    # First, so that our own variables replace them, wherever they are set.
    for source in (general, special, process):
        for fallback, (name, beginning) in FALLBACKS.items():
            if source.get(fallback, "").startswith(beginning):
                values[name] = source[fallback]
    for source in (general, special, process):
        problems += _misplaced(source)
        for variable, text in source.items():
            if variable in VARIABLES:
                values[variable] = text
            elif variable in SECRET_FILES:
                values[SECRET_FILES[variable]] = Path(text)
    if environment:
        values["ENVIRONMENT"] = environment
    return values


def names_environment() -> bool:
    """Return whether ENVIRONMENT is set; if not, it is PRODUCTION."""
    return _named(_process(), _dotenv(Path(".env"), [])) is not None


def _named(process: Mapping[str, str], general: Mapping[str, str]) -> str | None:
    return process.get("ENVIRONMENT") or general.get("ENVIRONMENT")


def _process() -> dict[str, str]:
    return _present(EnvSettingsSource(BaseSettings).env_vars)


def _present(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables that have a value. Compose files set an empty one to say that there is none."""
    return {name.upper(): value for name, value in variables.items() if value}


def _dotenv(path: Path, problems: list[Problem]) -> dict[str, str]:
    try:
        return _present(DotEnvSettingsSource(BaseSettings, env_file=path).env_vars)
    except (OSError, UnicodeDecodeError):
        problems.append(Problem(str(path), "must be a readable file of UTF-8 text"))
        return {}


def _misplaced(source: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the unknown variables of one source, and those that are set twice."""
    for variable, text in source.items():
        if variable in SECRET_FILES:
            twin = variable.removesuffix("_FILE")
            if twin in source:
                yield Problem(variable, f"must not be set together with {twin}")
        elif (
            variable.startswith(PREFIX)
            and not variable.startswith(_PREFIX_OF_TESTS)
            and variable not in VARIABLES
            and not _is_service_link(variable, text)
        ):
            # Others may belong to a script, a sidecar or another version.
            for close in difflib.get_close_matches(variable, (*VARIABLES, *SECRET_FILES), 1, 0.85):
                yield Problem(variable, f"is not known; is {close} meant?")


def _is_service_link(variable: str, text: str) -> bool:
    """Return whether Kubernetes added this variable for a service called `portico` or `portico-…`."""
    return text.startswith(("tcp://", "udp://", "sctp://")) or bool(
        re.search(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)_\w+$", variable)
    )


def _open_secret_files(values: dict[str, Any]) -> Iterator[Problem]:
    """Replace the path of a secret by the content of the file."""
    for variable, name in SECRET_FILES.items():
        path = values.get(name)
        if isinstance(path, Path):
            try:
                values[name] = (
                    path.expanduser().read_text("utf-8").removesuffix("\n").removesuffix("\r")
                )
            except (OSError, UnicodeDecodeError):
                del values[name]
                expected = VARIABLES[name].kind.expects
                yield Problem(variable, f"must be the path of a readable file with {expected}")
