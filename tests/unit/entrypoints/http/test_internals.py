"""What `internals` relies on: each case fails by its name when an upgrade of FastAPI or Starlette moves it."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, UploadFile
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from entrypoints.http import internals


@pytest.fixture
def app() -> FastAPI:
    """Return an application of FastAPI alone, without any layer of ours."""
    app = FastAPI(openapi_url=None)
    router = APIRouter(prefix="/inner")

    @router.get("/{name}")
    async def show(request: Request, name: str) -> dict[str, Any]:
        route = internals.route_of(request.scope)
        return {"template": route and route.path_format, "name": name}

    @router.post("/files")
    async def store(file: UploadFile) -> str:
        return (await file.read()).decode()

    app.include_router(router, prefix="/outer")
    return app


async def answer(app: Any, method: str, path: str, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **options)


async def test_fastapi_says_in_the_scope_which_route_with_all_its_prefixes_it_chose(
    app: FastAPI,
) -> None:
    response = await answer(app, "GET", "/outer/inner/ada")

    assert response.json() == {"template": "/outer/inner/{name}", "name": "ada"}


async def test_a_route_answers_by_itself_what_fastapi_answers_with_it(app: FastAPI) -> None:
    route = next(r for r in iter_route_contexts(app.routes) if r.name == "show")

    async def alone(scope: Any, receive: Any, send: Any) -> None:
        internals.put_route(scope, route)
        scope["path_params"] = {"name": "ada"}
        await internals.app_of(route)(scope, receive, send)

    response = await answer(internals.with_exit_stack(alone), "GET", "/outer/inner/ada")

    assert response.json() == {"template": "/outer/inner/{name}", "name": "ada"}


async def test_a_form_has_the_layer_that_closes_its_files(app: FastAPI) -> None:
    stack = internals.with_exit_stack(app.router)

    response = await answer(stack, "POST", "/outer/inner/files", files={"file": b"content"})

    assert response.json() == "content"


async def test_an_application_is_asked_for_its_layers_and_has_no_others(app: FastAPI) -> None:
    entered = list[str]()

    class Layer:
        def __init__(self, inner: ASGIApp, name: str) -> None:
            self.inner, self.name = inner, name

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            entered.append(self.name)
            await self.inner(scope, receive, send)

    class Layered(FastAPI):
        def build_middleware_stack(self) -> ASGIApp:
            return internals.in_layers_of(self, app.router)

    layered = Layered()
    layered.add_middleware(Layer, name="inner")
    layered.add_middleware(Layer, name="outer")

    response = await answer(layered, "GET", "/outer/inner/ada")

    assert response.json()["name"] == "ada"
    assert entered == ["outer", "inner"]


def test_a_route_says_whether_it_takes_a_body_and_a_query() -> None:
    router = APIRouter()

    async def page(number: int) -> int:
        return number

    @router.get("/none/{name}")
    async def none(name: str) -> None: ...

    @router.get("/query")
    async def query(number: Annotated[int, Depends(page)]) -> None: ...

    @router.post("/body")
    async def body(names: list[str]) -> None: ...

    taken = {
        route.name: (internals.takes_body(route), internals.takes_query(route))
        for route in router.routes
        if isinstance(route, APIRoute)
    }
    assert taken == {"none": (False, False), "query": (False, True), "body": (True, False)}


def test_a_context_of_a_route_has_what_the_table_reads(app: FastAPI) -> None:
    for route in iter_route_contexts(app.routes):
        assert isinstance(route.original_route, APIRoute)
        assert route.methods
        assert route.path_regex.match(route.path)
        assert route.param_convertors.keys() <= {"name"}
        assert list(route.dependencies) == []
