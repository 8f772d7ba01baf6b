"""The addresses of servers: the configured ones, or those of a running `portico run`."""

from collections.abc import Collection, Mapping

import bootstrap
from application.settings import Environment, Settings, Stores
from local_stack.stack import SERVERS, running_stack


def settings_here(**overrides: object) -> tuple[Settings, Mapping[str, object]]:
    """Return the settings and all overrides, with the addresses of a running local stack where none are configured.

    If ENVIRONMENT is not set and a local stack runs, it is LOCAL. Raise `UnsafeSettings`.
    """
    settings = bootstrap.load_settings(**overrides)
    is_named = "environment" in overrides or bootstrap.names_environment()
    if is_named and not unconfigured(settings):
        return settings, overrides
    variables = running_stack(settings.data_dir)
    if variables is None:
        return settings, overrides
    if not is_named:
        overrides["environment"] = Environment.LOCAL
        settings = bootstrap.load_settings(**overrides)
    overrides |= as_overrides(variables, unconfigured(settings))
    return bootstrap.load_settings(**overrides), overrides


def unconfigured(settings: Settings) -> frozenset[str]:
    """Return the servers without an address that Portico may start itself; none when deployed."""
    if settings.stores is Stores.MEMORY or settings.environment.deployed:
        return frozenset()
    return frozenset(name for name in SERVERS if getattr(settings, name).url is None)


def as_overrides(variables: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the overrides of `load_settings` with the addresses of the named servers."""
    prefixes = tuple(f"{name}_" for name in names)
    plain = {name.removeprefix("PORTICO_").lower(): value for name, value in variables.items()}
    return {name: value for name, value in plain.items() if name.startswith(prefixes)}
