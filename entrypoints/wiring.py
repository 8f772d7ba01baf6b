"""Gives routes and events their use cases, by type: `async def log_in(body: LogInBody, log_in: UseCase[LogIn])`."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar

from dependency_injector.providers import Provider
from fastapi import Depends
from starlette.datastructures import State
from starlette.requests import HTTPConnection

from application.ports.log_in_throttle import LogInThrottle
from application.ports.rate_limiter import RateLimiter
from application.ports.system import Clock
from application.settings import Settings, ThrottleSettings
from bootstrap import Container

T = TypeVar("T")

_LIMITS = frozenset({LogInThrottle, RateLimiter, ThrottleSettings})


class BuiltOnce(dict[str, Any]):
    """The use cases and ports of one application by their name in the container, each built once."""

    def __init__(self, container: Container) -> None:
        super().__init__()
        self._container = container

    def __missing__(self, name: str) -> Any:  # noqa: ANN401 - as many types as names
        built = self[name] = getattr(self._container, name)()
        return built


def attach(state: State, container: Container) -> None:
    """Attach the container to an application; `UseCase`, `provide` and `settings_of` read it."""
    state.container = container
    state.settings = container.settings()
    state.built = BuiltOnce(container)


def settings_of(connection: HTTPConnection) -> Settings:
    """Return the settings of the application that serves `connection`."""
    settings: Settings = connection.app.state.settings
    return settings


async def clock(connection: HTTPConnection) -> Clock:
    """Return the clock of the application that serves `connection`."""
    container: Container = connection.app.state.container
    return container.clock()


ClockDep = Annotated[Clock, Depends(clock)]


@dataclass(frozen=True, slots=True)
class Provided(Generic[T]):
    """A dependency that returns the object of that name in the container."""

    name: str
    is_limited: bool
    """Whether it may raise 429: one of its fields is a limiter."""

    async def __call__(self, connection: HTTPConnection) -> T:
        return self.of(connection)

    def of(self, connection: HTTPConnection) -> T:
        """Return it for the application that serves `connection`."""
        built: BuiltOnce = connection.app.state.built
        provided: T = built[self.name]
        return provided


def provide(provider: Provider[T]) -> Provided[T]:
    """Return the dependency for `provider`, an attribute of `Container`."""
    name = next(name for name, known in Container.providers.items() if known is provider)
    provided = getattr(provider, "cls", None)
    parts = dataclasses.fields(provided) if dataclasses.is_dataclass(provided) else ()
    return Provided(name, is_limited=any(part.type in _LIMITS for part in parts))


if TYPE_CHECKING:
    UseCase: TypeAlias = Annotated[T, "from the container of the application"]
else:

    class UseCase:
        """`UseCase[LogIn]` is the annotation of a parameter that gets `LogIn` from the container of the application."""

        def __class_getitem__(cls, wanted: type) -> Any:  # noqa: ANN401 - an `Annotated`
            """Return the annotation; raise `LookupError` if the container does not provide exactly one."""
            found = [
                each
                for each in Container.providers.values()
                if getattr(each, "cls", None) is wanted
            ]
            if len(found) != 1:
                raise LookupError(f"the container has {len(found)} providers of {wanted.__name__}")
            return Annotated[wanted, Depends(provide(found[0]))]
