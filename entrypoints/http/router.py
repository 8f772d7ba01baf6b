"""Routes that check their caller first: before a parameter is looked at, and before a byte of the body is read.

Every route is made by a `Router` and declares in its `dependencies` who may call it: `PublicRoute`,
`AuthenticatedRoute`, `GuardedRoute`, `OneTimePasswordRoute` for the few that accept a one-time password, or
`RefreshRoute` and `LogOutRoute`, which take tokens that others refuse.
`check_declared` stops an application from starting if one does not, and such a route never answers.
"""

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from entrypoints.http.internals import takes_body, takes_query
from entrypoints.http.request_bodies import read_body
from entrypoints.http.request_context import request_context
from entrypoints.http.security import DECLARATIONS, public

# Seconds. Who takes longer to send a body is checked again at its end: their permissions may have been revoked.
_SLOW_BODY = 0.1


class UndeclaredRoute(RuntimeError):
    """Some routes do not declare who may call them; the application does not start."""

    def __init__(self, routes: Sequence[str]) -> None:
        super().__init__(
            "These routes must be made by entrypoints.http.router.Router and have exactly one of PublicRoute, "
            "AuthenticatedRoute, GuardedRoute, OneTimePasswordRoute, RefreshRoute and LogOutRoute in their "
            "`dependencies`: "
            f"{', '.join(routes)}"
        )
        self.routes = routes


class DeclaredRoute(APIRoute):
    """A route that takes the declaration out of its dependencies and runs it before FastAPI does anything."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        dependencies: Sequence[Depends] | None = None,
        **options: Any,  # noqa: ANN401 - FastAPI's own
    ) -> None:
        given = dependencies or ()
        self.declarations = [d.dependency for d in given if d.dependency in DECLARATIONS]
        others = [d for d in given if d.dependency not in DECLARATIONS]
        super().__init__(path, endpoint, dependencies=others, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        check, *more = self.declarations or [_undeclared]
        if more:
            check = _undeclared
        has_body = takes_body(self)
        if check is public and not has_body:
            return handle
        has_query = takes_query(self)

        async def check_and_handle(request: Request) -> Response:
            await check(request)
            if not has_query and request.scope["query_string"] and request.query_params:
                raise _unknown_fields(request)
            if has_body:
                started = time.monotonic()
                await read_body(request)
                if time.monotonic() - started > _SLOW_BODY:
                    request_context(request.scope).caller = None
                    await check(request)
            return await handle(request)

        return check_and_handle


class Router(APIRouter):
    """FastAPI's router, whose routes check their caller first."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
        super().__init__(route_class=DeclaredRoute, **options)


def _unknown_fields(request: Request) -> RequestValidationError:
    """Return what FastAPI raises where a model of the query does not have these fields."""
    return RequestValidationError(
        [
            {
                "type": "extra_forbidden",
                "loc": ("query", name),
                "msg": "Extra inputs are not permitted",
            }
            for name in request.query_params
        ]
    )


async def _undeclared(request: Request) -> None:
    raise UndeclaredRoute([f"{request.method} {request.url.path}"])


def declarations_of(route: RouteContext) -> Sequence[Callable[..., Any]]:
    """Return who may call a route, as it and the routers around it declare it."""
    if not isinstance(route.original_route, APIRoute):
        return ()
    own = getattr(route.original_route, "declarations", ())
    return [*own, *(d.dependency for d in route.dependencies if d.dependency in DECLARATIONS)]


def check_declared(routes: Sequence[BaseRoute]) -> None:
    """Raise `UndeclaredRoute` unless each route declares exactly once who may call it."""
    undeclared = [
        f"{','.join(sorted(route.methods or ())) or 'ANY'} {route.path}"
        for route in iter_route_contexts(routes)
        if not isinstance(route.original_route, DeclaredRoute)
        or len(route.original_route.declarations) != 1
        or len(declarations_of(route)) != 1
    ]
    if undeclared:
        raise UndeclaredRoute(undeclared)
