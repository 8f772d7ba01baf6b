"""The private parts of FastAPI that we use; `test_internals` fails by name when an upgrade moves one."""

from typing import Any

from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import RouteContext
from starlette.types import ASGIApp, Scope


def with_exit_stack(app: ASGIApp) -> ASGIApp:
    """Return `app` in the layer that closes the files of forms; FastAPI's routes insist on it."""
    return AsyncExitStackMiddleware(app)


def app_of(route: RouteContext) -> ASGIApp:
    """Return what answers the requests of a route, with all that its routers add to it."""
    app: ASGIApp = route.app
    return app


def put_route(scope: Scope, route: RouteContext) -> None:
    """Record the matched route of an included router, as FastAPI's routers do."""
    scope["route"] = route.original_route
    scope["endpoint"] = route.endpoint
    scope["fastapi"] = {"effective_route_context": route}


def route_of(scope: Scope) -> Any:  # noqa: ANN401 - a RouteContext, or what FastAPI has in its place
    """Return the matched route of an included router, whose `path_format` has every prefix; None if there is none.

    `scope["route"]` lacks the prefixes.
    """
    return scope.get("fastapi", {}).get("effective_route_context")
