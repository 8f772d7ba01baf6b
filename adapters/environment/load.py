"""From variables to settings."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, get_type_hints

from pydantic import ValidationError

from adapters.environment.sources import read
from adapters.environment.variables import VARIABLES, KeyVariables, is_section, variable_of
from application.setting_problems import Problem, UnsafeSettings
from application.settings import Settings


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - each value has the type of its variable
    """Return the settings of the process environment, then `.env.<environment>`, then `.env`.

    `overrides` are variables in lower case without their prefix (`http_port=0`), and beat them all. Raise
    `UnsafeSettings` with every variable that is misspelt or wrong. Whether the whole is safe to run with is for
    `problems_of` to say.
    """
    given, problems = read(overrides.get("environment"))
    given |= {variable_of(key): value for key, value in overrides.items()}
    if unknown := [key for key in overrides if variable_of(key) not in VARIABLES]:
        raise TypeError(f"no such variable: {', '.join(unknown)}")
    values: dict[type, dict[str, Any]] = {}
    for name, variable in VARIABLES.items():
        if name in given:
            try:
                value = variable.read(given[name])
            except ValidationError:
                problems.append(Problem(name, f"must be {variable.kind.expects}"))
            else:
                values.setdefault(variable.section, {})[variable.field] = value
    if problems:
        raise UnsafeSettings(tuple(problems))
    return _settings(values)


def _settings(values: Mapping[type, Mapping[str, Any]]) -> Settings:
    settings: Settings = _made(Settings, values)
    deployed, sessions = settings.environment.deployed, settings.sessions
    freshness = sessions.require_fresh_ciphertext
    return replace(
        settings,
        keys=_made(KeyVariables, values).settings(
            generate_in=None if deployed else settings.data_dir / "keys"
        ),
        http=replace(
            settings.http,
            drain=timedelta(seconds=5 * deployed)
            if settings.http.drain is None
            else settings.http.drain,
        ),
        sessions=replace(
            sessions,
            issuer=sessions.issuer.rstrip("/"),
            require_fresh_ciphertext=deployed if freshness is None else freshness,
        ),
    )


def _made(section: Any, values: Mapping[type, Mapping[str, Any]]) -> Any:  # noqa: ANN401 - a section
    """Return a section with the values of its fields, and of the sections in it."""
    hints = get_type_hints(section)
    inner = {
        f.name: _made(hints[f.name], values) for f in fields(section) if is_section(hints[f.name])
    }
    return section(**inner, **values.get(section, {}))
