"""How a route gets a use case: `Annotated[LogIn, Depends(use_case(Container.log_in))]`."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dependency_injector.providers import Provider
from starlette.datastructures import State
from starlette.requests import Request

from application.settings import Settings
from bootstrap import Container

T = TypeVar("T")


class UseCases(dict[str, Any]):
    """The use cases of one application by their name in the container, each built once: they hold no state."""

    def __init__(self, container: Container) -> None:
        super().__init__()
        self._container = container

    def __missing__(self, name: str) -> Any:  # noqa: ANN401 - as many types as use cases
        built = self[name] = getattr(self._container, name)()
        return built


def attach(state: State, container: Container) -> None:
    """Give an application its container; `use_cases_of` and `settings_of` find it there."""
    state.container = container
    state.settings = container.settings()
    state.use_cases = UseCases(container)


def use_cases_of(request: Request) -> UseCases:
    """Return the use cases of the application that answers `request`."""
    use_cases: UseCases = request.app.state.use_cases
    return use_cases


def settings_of(request: Request) -> Settings:
    """Return the settings of the application that answers `request`."""
    settings: Settings = request.app.state.settings
    return settings


def use_case(provider: Provider[T]) -> Callable[[Request], Coroutine[Any, Any, T]]:
    """Return the dependency that hands out what `provider`, an attribute of `Container`, provides."""
    name = next(name for name, known in Container.providers.items() if known is provider)

    async def provide(request: Request) -> T:
        provided: T = use_cases_of(request)[name]
        return provided

    return provide
