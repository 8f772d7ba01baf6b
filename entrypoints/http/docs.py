"""The documentation pages of debug environments, without internet access: Swagger UI, ReDoc, and events.

Their scripts are files, so the content security policy allows no inline script.
"""

from importlib.resources import files
from pathlib import Path

import fastapi_offline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
)

from entrypoints.http import asyncapi_page
from entrypoints.http.companion import Companion
from entrypoints.http.router import Router
from entrypoints.http.security import DebugOnlyDep, PublicRoute

router = Router(include_in_schema=False, dependencies=[PublicRoute])

_FILES = Path(str(files(fastapi_offline))) / "static"
_ASSETS = frozenset(
    {"swagger-ui.css", "swagger-ui-bundle.js", "redoc.standalone.js", "favicon.png"}
)
# Both pages set styles from scripts, and ReDoc runs its search in a worker made from a blob.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Every address is relative: a proxy may serve all of this under a prefix.
_SWAGGER_UI = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Portico</title>
<link rel="icon" href="docs/assets/favicon.png">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/assets/start.js"></script>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
_REDOC = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Portico</title>
<link rel="icon" href="docs/assets/favicon.png">
<redoc spec-url="openapi.json"></redoc>
<script src="docs/assets/redoc.standalone.js"></script>
</html>
"""

_WRITTEN = {
    "start.js": (_START, "text/javascript"),
    "asyncapi.js": (asyncapi_page.SCRIPT, "text/javascript"),
    "asyncapi.css": (asyncapi_page.STYLE, "text/css"),
}


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
    return HTMLResponse(_SWAGGER_UI, headers={"Content-Security-Policy": _POLICY})


@router.get("/redoc")
async def redoc(_: DebugOnlyDep) -> Response:
    """Show ReDoc."""
    return HTMLResponse(_REDOC, headers={"Content-Security-Policy": _POLICY})


@router.get("/asyncapi.json")
async def asyncapi(request: Request, _: DebugOnlyDep) -> Response:
    """Return the AsyncAPI document."""
    return JSONResponse(_companion(request).document())


@router.get("/asyncapi")
async def events(request: Request, _: DebugOnlyDep) -> Response:
    """Show the AsyncAPI document."""
    _companion(request)
    return HTMLResponse(asyncapi_page.PAGE, headers={"Content-Security-Policy": _POLICY})


def _companion(request: Request) -> Companion:
    companion: Companion | None = request.app.state.companion
    if companion is None:
        raise HTTPException(404)
    return companion


@router.get("/docs/assets/{name}")
async def asset(name: str, _: DebugOnlyDep) -> Response:
    """Return a script, style sheet or image of the pages."""
    if name in _WRITTEN:
        text, media_type = _WRITTEN[name]
        return Response(text, media_type=media_type)
    if name not in _ASSETS:
        raise HTTPException(404)
    return FileResponse(_FILES / name, headers={"Cache-Control": "max-age=3600"})
