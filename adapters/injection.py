"""What the container is made of: dependency-injector, and classes that are imported at their first use."""

from pkgutil import resolve_name
from typing import Any

from adapters.lean_imports import absent

# It imports them where they are installed, for a way of wiring that we do not use: 20 MB in each worker and beat.
with absent("fastapi", "starlette", "werkzeug", "flask", "yaml"):
    from dependency_injector import containers, providers

__all__ = ["Later", "containers", "providers"]


class Later:
    """A class or function that is imported when it is first called: a process loads only what it uses.

    `name` is `module:attribute`. Use cases that ask for the type `provides` get what it returns.
    """

    def __init__(self, provides: type, name: str) -> None:
        self.provides = provides
        self.name = name

    @property
    def made(self) -> Any:  # noqa: ANN401 - the class or function
        """Import it."""
        return resolve_name(self.name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as what it stands for
        return self.made(*arguments, **named)
