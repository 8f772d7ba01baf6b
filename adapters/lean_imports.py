"""Libraries that import what we do not use, which costs each process memory and time at its start.

Those that many files import are imported here first, without it. `test_loaded_modules` has what no process may load.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


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


class _Placeholder(ModuleType):
    """Stands for a module while its package is imported. What the package takes from it is this module itself."""

    def __getattr__(self, name: str) -> "_Placeholder":
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def import_without(package_name: str, *submodules: str) -> None:
    """Import a package that imports submodules only to hand their names on; each is imported when a name is asked for.

    It does nothing if the package is loaded.
    """
    if package_name in sys.modules:
        return
    placeholders = [_Placeholder(f"{package_name}.{submodule}") for submodule in submodules]
    sys.modules.update({each.__name__: each for each in placeholders})
    try:
        package = import_module(package_name)
    finally:
        for each in placeholders:
            del sys.modules[each.__name__]
    sources = {
        name: value.__name__
        for name, value in vars(package).items()
        if isinstance(value, _Placeholder)
    }

    def __getattr__(name: str) -> object:  # noqa: N807 - what Python calls it
        if name not in sources:
            raise AttributeError(f"module {package_name!r} has no attribute {name!r}")
        return getattr(import_module(sources[name]), name)

    for name in sources:
        delattr(package, name)
    package.__getattr__ = __getattr__  # type: ignore[method-assign]


# For its own metrics, where the extra `tracing` is installed: 2 MB.
with absent("opentelemetry.sdk.metrics"):
    import redis.asyncio  # noqa: F401

# The ORM: 6 MB, and a tenth of a second.
import_without("sqlalchemy.ext.asyncio", "session", "scoping")
