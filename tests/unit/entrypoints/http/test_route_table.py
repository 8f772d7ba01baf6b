"""The table of routes finds what FastAPI would find."""

import re
from collections.abc import Iterator
from uuid import UUID

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.routing import iter_route_contexts
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match

from application.settings import HttpSettings
from entrypoints.http.app import described_app
from entrypoints.http.route_table import RouteTable
from entrypoints.http.router import Router
from entrypoints.http.security import PublicRoute

APP = described_app(HttpSettings(), debug=True)
PATHS = sorted(
    {
        form
        for route in iter_route_contexts(APP.routes)
        for form in (str(route.path), re.sub("[{}]", "", str(route.path)))
    }
)
SEGMENTS = [
    *sorted({segment for path in PATHS for segment in path.split("/")}),
    *(str(UUID(int=7)), "%2F", " ", "..", "7", "x\n"),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def found_by_fastapi(app: FastAPI, method: str, path: str) -> tuple[object, object] | None:
    """Return the first route that matches, and its parameters."""
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    for route in iter_route_contexts(app.routes):
        match, child = route.matches(dict(scope))
        if match is Match.FULL:
            return route.endpoint, child["path_params"]
    return None


def found_by_table(app: FastAPI, method: str, path: str) -> tuple[object, object] | None:
    found = RouteTable.of(app.routes).find(method, path)
    return found and (found[0].endpoint, found[1])


def every_request() -> Iterator[tuple[str, str]]:
    for path in PATHS:
        for method in METHODS:
            yield method, path


def test_it_finds_every_route_of_ours_as_fastapi_does() -> None:
    table = RouteTable.of(APP.routes)
    found = 0
    for method, path in every_request():
        in_table = table.find(method, path)
        expected = found_by_fastapi(APP, method, path)
        assert (in_table and (in_table[0].endpoint, in_table[1])) == expected
        found += in_table is not None
    assert found >= 48


@given(st.sampled_from(METHODS), st.lists(st.sampled_from(SEGMENTS), max_size=7))
def test_it_never_finds_another_route_than_fastapi(method: str, segments: list[str]) -> None:
    path = "/" + "/".join(segments)

    in_table = found_by_table(APP, method, path)

    assert in_table in (None, found_by_fastapi(APP, method, path))


def an_app(*paths: str) -> FastAPI:
    """Return an application with a GET of each path, in this order."""
    app = FastAPI(openapi_url=None)
    router = Router(prefix="/fake")
    for path in paths:

        @router.get(path, dependencies=[PublicRoute])
        async def show() -> None: ...

    app.include_router(router)
    return app


def test_a_template_that_is_declared_before_a_fixed_path_takes_it() -> None:
    """As FastAPI has it."""
    for paths in (("/a/{x}", "/a/b"), ("/a/b", "/a/{x}")):
        app = an_app(*paths)

        found = RouteTable.of(app.routes).find("GET", "/fake/a/b")

        assert found is not None
        assert found[0].path == f"/fake{paths[0]}"


@pytest.mark.parametrize("path", ["/{x:path}", "/a/{x:path}/b"])
def test_it_ends_before_a_parameter_that_spans_segments(path: str) -> None:
    app = an_app("/before", path, "/after")
    table = RouteTable.of(app.routes)

    assert table.find("GET", "/fake/before") is not None
    assert table.find("GET", "/fake/after") is None


def test_it_ends_before_what_is_no_route_of_a_router() -> None:
    app = an_app("/before")

    @app.get("/direct")
    async def direct() -> None: ...

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None: ...

    app.include_router(an_app("/after").router)
    table = RouteTable.of(app.routes)

    assert table.find("GET", "/fake/before") is not None
    assert table.find("GET", "/direct") is None
    assert table.find("GET", "/fake/after") is None


def test_parameters_are_of_the_type_that_the_template_says() -> None:
    app = an_app("/{n:int}/{id:uuid}/{x:float}")
    id_ = UUID(int=9)

    found = RouteTable.of(app.routes).find("GET", f"/fake/7/{id_}/1.5")

    assert found is not None
    assert found[1] == {"n": 7, "id": id_, "x": 1.5}
