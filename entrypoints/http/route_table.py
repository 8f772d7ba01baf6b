"""The route of a request, found in one look-up.

FastAPI asks every included router in turn, which tries its routes, and then the chosen router once more: the last of
fifty routes costs more than all the rest of a small request. The table holds only
routes whose order it can prove; FastAPI answers the rest.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.convertors import (
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    StringConvertor,
    UUIDConvertor,
)
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.internals import app_of, put_route
from entrypoints.http.request_context import route_path

_OF_ONE_SEGMENT = (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)

Found: TypeAlias = tuple[RouteContext, dict[str, Any]]
"""A route, and the parameters in its path."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes of an application, as they were when the table was made."""

    fixed: Mapping[tuple[str, str], RouteContext]
    """By method and path: those without parameters."""
    templates: Mapping[tuple[str, int], Sequence[RouteContext]]
    """By method and number of segments, in the order of declaration."""
    methods: Mapping[str, frozenset[str]]
    """All methods of each path without parameters."""

    @classmethod
    def of(cls, routes: Sequence[BaseRoute]) -> "RouteTable":
        """Return the table of `routes`, up to the first whose place it does not understand."""
        fixed: dict[tuple[str, str], RouteContext] = {}
        templates: defaultdict[tuple[str, int], list[RouteContext]] = defaultdict(list)
        for route in _understood(routes):
            path = str(route.path)
            for method in route.methods or ():
                candidates = templates[method, path.count("/")]
                if route.param_convertors:
                    candidates.append(route)
                # FastAPI takes the first that matches, and that may be a template.
                elif not any(template.path_regex.match(path) for template in candidates):
                    fixed.setdefault((method, path), route)
        return cls(fixed, templates, fixed_paths(routes))

    def find(self, method: str, path: str) -> Found | None:
        """Return the route that FastAPI would find; None if only FastAPI knows."""
        if route := self.fixed.get((method, path)):
            return route, {}
        for route in self.templates.get((method, path.count("/")), ()):
            if match := route.path_regex.match(path):
                convertors: Mapping[str, Convertor[Any]] = route.param_convertors
                return route, {
                    name: convertors[name].convert(text) for name, text in match.groupdict().items()
                }
        return None


def _understood(routes: Sequence[BaseRoute]) -> list[RouteContext]:
    found: list[RouteContext] = []
    for entry in routes:
        if isinstance(entry, APIRoute):  # in no router, so nothing tells its permission
            return found
        for route in iter_route_contexts([entry]):
            if not isinstance(route.original_route, APIRoute):
                return found
            if not all(isinstance(c, _OF_ONE_SEGMENT) for c in route.param_convertors.values()):
                return found
            found.append(route)
    return found


def fixed_paths(routes: Sequence[BaseRoute]) -> Mapping[str, frozenset[str]]:
    """Return the methods of each path without parameters: `/roles/all` has no PUT, although `/roles/{role_id}` has."""
    methods: dict[str, frozenset[str]] = {}
    for route in iter_route_contexts(routes):
        path = route.path
        if isinstance(route.original_route, APIRoute) and path and "{" not in path:
            methods[path] = methods.get(path, frozenset()) | (route.methods or set())
    return methods


class TabledRouter:
    """Answers what the table of the application finds; the rest goes to FastAPI's router.

    The other methods of a fixed path are 405: they would match a template such as `/roles/{role_id}`.
    """

    def __init__(self, router: ASGIApp) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        table: RouteTable = scope["app"].route_table
        path, method = route_path(scope), scope["method"]
        if method not in table.methods.get(path, (method,)):
            raise HTTPException(405)
        found = table.find(method, path)
        if found is None:
            await self._router(scope, receive, send)
            return
        route, scope["path_params"] = found
        scope["router"] = self._router
        put_route(scope, route)
        await app_of(route)(scope, receive, send)
