"""What the container is made of: dependency-injector, and classes that are imported at their first use."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """Let imports of these modules fail in the block, as if they were not installed."""
    loaded = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: "not there", says Python's reference
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name)
        sys.modules.update(loaded)


# It imports them where they are installed, for a way of wiring that we do not use: 20 MB in each worker and beat.
with absent("fastapi", "starlette", "werkzeug", "flask", "yaml"):
    from dependency_injector import containers, providers

__all__ = ["Later", "absent", "containers", "providers"]


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
