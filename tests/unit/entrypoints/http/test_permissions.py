"""The catalogue of permissions."""

from collections.abc import Mapping
from typing import Any

from entrypoints.http.envelope import Envelope
from entrypoints.http.permissions import guarded_routes
from entrypoints.http.router import Router
from entrypoints.http.security import AuthenticatedRoute, GuardedRoute, PublicRoute
from tests.support.builders import a_user
from tests.support.web import Web
from tests.support.world import World

CATALOGUE = "/api/v1/router/backend"

router = Router(prefix="/fake/{shelf}", tags=["fake", "more"])


@router.api_route("/books/{book_id}", methods=["GET", "DELETE"], dependencies=[GuardedRoute])
async def any_book(shelf: str, book_id: int) -> Envelope[None]:
    """Show or remove a book.

    With care.
    """
    return Envelope(data=None)


@router.post("/books", summary="Buy", include_in_schema=False, dependencies=[GuardedRoute])
async def make_book(shelf: str) -> Envelope[None]:
    return Envelope(data=None)


@router.get("/free", dependencies=[PublicRoute])
async def free(shelf: str) -> Envelope[None]:
    return Envelope(data=None)


@router.get("/closed", dependencies=[AuthenticatedRoute])
async def closed(shelf: str) -> Envelope[None]:
    return Envelope(data=None)


async def catalogue(web: Web) -> Mapping[str, Mapping[str, Any]]:
    """Return the catalogue by codes."""
    bearer = await web.bearer(await web.world.given(a_user(is_admin=True)))
    response = await web.client.get(CATALOGUE, headers=bearer)
    assert response.status_code == 200
    return {permission["code"]: permission for permission in response.json()["data"]}


async def test_every_guarded_route_is_a_permission_in_the_words_of_its_author(world: World) -> None:
    async with Web(world, routers=[router]) as web:
        permissions = await catalogue(web)

    fake = {code: p for code, p in permissions.items() if "/fake/" in code}
    assert fake.keys() == {
        "GET:/fake/{shelf}/books/{book_id}",
        "DELETE:/fake/{shelf}/books/{book_id}",
        "POST:/fake/{shelf}/books",
    }
    show = fake["GET:/fake/{shelf}/books/{book_id}"]
    assert show == {
        "id": show["id"],
        "code": "GET:/fake/{shelf}/books/{book_id}",
        "method": "GET",
        "path": "/fake/{shelf}/books/{book_id}",
        "name": "Any book",
        "description": "Show or remove a book.\n\nWith care.",
        "tag": "fake",
        "firstSeenAt": "2026-03-01T12:00:00Z",
        "removedAt": None,
    }
    assert fake["POST:/fake/{shelf}/books"]["name"] == "Buy"


async def test_the_catalogue_has_the_permissions_that_openapi_names(web: Web) -> None:
    documented = {
        operation["x-permission"]
        for methods in web.app.openapi()["paths"].values()
        for operation in methods.values()
        if "x-permission" in operation
    }

    assert (await catalogue(web)).keys() == documented
    assert all(p["description"] and p["tag"] for p in (await catalogue(web)).values())


async def test_a_route_that_vanishes_is_marked_and_one_that_returns_keeps_its_id(
    world: World,
) -> None:
    async with Web(world, routers=[router]) as web:
        before = await catalogue(web)
    await world.pass_time(days=1)
    async with Web(world) as web:
        without = await catalogue(web)
    await world.pass_time(days=1)
    async with Web(world, routers=[router]) as web:
        again = await catalogue(web)

    assert without.keys() == before.keys()
    for code, permission in without.items():
        expected = "2026-03-02T12:00:00Z" if "/fake/" in code else None
        assert permission == {**before[code], "removedAt": expected}
    assert again == before


async def test_the_catalogue_is_ready_before_the_first_request(world: World) -> None:
    async with Web(world, routers=[router]) as web:
        world.store.permissions.clear()
        async with web.app.router.lifespan_context(web.app):
            codes = {p.route.code for p in world.store.permissions.values()}

    assert codes == {route.code for route in guarded_routes(web.app.routes)}
    assert len(codes) > 3
