"""The parts of FastAPI and Starlette that we use, and that they do not document.

`test_internals` fails by name when an upgrade moves one.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute, RouteContext
from starlette.types import ASGIApp, Scope


def with_exit_stack(app: ASGIApp) -> ASGIApp:
    """Return `app` in the layer that closes the files of forms; FastAPI's routes insist on it."""
    return AsyncExitStackMiddleware(app)


def in_layers_of(app: FastAPI, routes: ASGIApp) -> ASGIApp:
    """Return `routes` in the layers that were added to `app`, the last one outside, and not in FastAPI's own."""
    layered = with_exit_stack(routes)
    for layer, arguments, options in reversed(app.user_middleware):
        layered = layer(layered, *arguments, **options)
    return layered


def takes_body(route: APIRoute) -> bool:
    """Tell whether FastAPI reads the body of the requests of a route."""
    return route.body_field is not None


def takes_query(route: APIRoute) -> bool:
    """Tell whether a route or one of its dependencies has parameters in the query."""
    return _takes_query(route.dependant)


def _takes_query(dependant: Dependant) -> bool:
    return bool(dependant.query_params) or any(map(_takes_query, dependant.dependencies))


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
