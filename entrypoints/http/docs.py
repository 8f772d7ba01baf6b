"""The documentation pages of debug environments, without internet access: Swagger UI, ReDoc, and events.

Their scripts are files, so the content security policy allows no inline script.
"""

from importlib.resources import files
from pathlib import Path

import fastapi_offline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from entrypoints.http.companion import Companion
from entrypoints.http.router import Router
from entrypoints.http.security import DebugOnlyDep, PublicRoute

router = Router(include_in_schema=False, dependencies=[PublicRoute])

# Every address in a page is relative: a proxy may serve all of this under a prefix.
_PAGES = Path(__file__).with_name("pages")
_OFFLINE = Path(str(files(fastapi_offline))) / "static"
_ASSETS = {
    "start.js": _PAGES,
    "asyncapi.js": _PAGES,
    "asyncapi.css": _PAGES,
    "swagger-ui.css": _OFFLINE,
    "swagger-ui-bundle.js": _OFFLINE,
    "redoc.standalone.js": _OFFLINE,
    "favicon.png": _OFFLINE,
}
# Both pages set styles from scripts, and ReDoc runs its search in a worker made from a blob.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def start(_: DebugOnlyDep) -> Response:
    """Redirect to the documentation."""
    return RedirectResponse("docs")


@router.get("/openapi.json")
async def openapi(request: Request, _: DebugOnlyDep) -> Response:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def swagger_ui(_: DebugOnlyDep) -> Response:
    """Show Swagger UI."""
    return _page("swagger-ui.html")


@router.get("/redoc")
async def redoc(_: DebugOnlyDep) -> Response:
    """Show ReDoc."""
    return _page("redoc.html")


@router.get("/asyncapi.json")
async def asyncapi(request: Request, _: DebugOnlyDep) -> Response:
    """Return the AsyncAPI document."""
    return JSONResponse(_companion(request).document())


@router.get("/asyncapi")
async def events(request: Request, _: DebugOnlyDep) -> Response:
    """Show the AsyncAPI document."""
    _companion(request)
    return _page("asyncapi.html")


def _companion(request: Request) -> Companion:
    companion: Companion | None = request.app.state.companion
    if companion is None:
        raise HTTPException(404)
    return companion


@router.get("/docs/assets/{name}")
async def asset(name: str, _: DebugOnlyDep) -> Response:
    """Return a script, style sheet or image of the pages."""
    if name not in _ASSETS:
        raise HTTPException(404)
    folder = _ASSETS[name]
    # Ours change while one works on them.
    headers = {"Cache-Control": "max-age=3600"} if folder is _OFFLINE else None
    return FileResponse(folder / name, headers=headers)


def _page(name: str) -> Response:
    return FileResponse(_PAGES / name, headers={"Content-Security-Policy": _POLICY})
