"""What `internals` relies on: each case fails by its name when an upgrade of FastAPI or Starlette moves it."""

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, UploadFile
from fastapi.routing import APIRoute, iter_route_contexts

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


def test_a_context_of_a_route_has_what_the_table_reads(app: FastAPI) -> None:
    for route in iter_route_contexts(app.routes):
        assert isinstance(route.original_route, APIRoute)
        assert route.methods
        assert route.path_regex.match(route.path)
        assert route.param_convertors.keys() <= {"name"}
        assert list(route.dependencies) == []
