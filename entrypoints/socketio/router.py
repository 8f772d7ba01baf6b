"""Handlers that are gathered before there is a server, as with FastAPI's routers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, overload

from fastapi.params import Depends

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Route:
    """One handler and how it is to be registered."""

    event: str
    handler: Callable[..., Any]
    namespace: str | None
    dependencies: tuple[Depends, ...]
    ordered: bool | None

    def below(self, prefix: str, namespace: str | None, dependencies: Sequence[Depends]) -> "Route":
        """Return it as part of a router that has these."""
        is_fixed = self.event in {"connect", "disconnect", "*"}
        return replace(
            self,
            event=self.event if is_fixed else prefix + self.event,
            namespace=self.namespace or namespace,
            dependencies=self.dependencies
            if self.event == "disconnect"
            else (*dependencies, *self.dependencies),
        )


class HandlerRegistry(ABC):
    """The ways to register a handler, which servers and routers have in common."""

    @abstractmethod
    def add_route(self, route: Route) -> None:
        """Register one handler."""

    @overload
    def on(
        self,
        event: str,
        handler: None = None,
        namespace: str | None = None,
        *,
        dependencies: Sequence[Any] = (),
        ordered: bool | None = None,
    ) -> Callable[[F], F]: ...
    @overload
    def on(
        self,
        event: str,
        handler: Callable[..., Any],
        namespace: str | None = None,
        *,
        dependencies: Sequence[Any] = (),
        ordered: bool | None = None,
    ) -> None: ...
    def on(
        self,
        event: str,
        handler: Callable[..., Any] | None = None,
        namespace: str | None = None,
        *,
        dependencies: Sequence[Any] = (),
        ordered: bool | None = None,
    ) -> Any:
        """Register a handler, and return it as it is; raise `InvalidHandler` if it could never run.

        `dependencies` run first, before the payload is validated, in the given order; `ordered` overrides the server's.
        """

        def register(handler: F) -> F:
            self.add_route(Route(event, handler, namespace, tuple(dependencies), ordered))
            return handler

        if handler is None:
            return register
        register(handler)
        return None

    @overload
    def event(self, handler: F) -> F: ...
    @overload
    def event(
        self,
        *,
        namespace: str | None = None,
        dependencies: Sequence[Any] = (),
        ordered: bool | None = None,
    ) -> Callable[[F], F]: ...
    def event(self, handler: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Register a handler of the event that has its name."""

        def add(handler: F) -> F:
            return self.on(handler.__name__, **options)(handler)  # type: ignore[no-any-return]

        return add if handler is None else add(handler)

    def include_router(
        self, router: "SocketRouter", *, prefix: str = "", dependencies: Sequence[Any] = ()
    ) -> None:
        """Register the handlers that `router` has now."""
        for route in router.routes:
            self.add_route(route.below(prefix, None, dependencies))


class SocketRouter(HandlerRegistry):
    """Handlers with a prefix of their events, a namespace and dependencies in common.

    The dependencies run before those of the handlers, and before `connect` too, but not before `disconnect`: who leaves
    cannot be refused. Neither of these two gets the prefix.
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        namespace: str | None = None,
        dependencies: Sequence[Any] = (),
    ) -> None:
        self.prefix = prefix
        self.namespace = namespace
        self.dependencies: Sequence[Depends] = dependencies
        self.routes: list[Route] = []

    def add_route(self, route: Route) -> None:
        self.routes.append(route.below(self.prefix, self.namespace, self.dependencies))
