"""What `PermissionRepository` promises, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from application.ports.unit_of_work import UnitOfWorkFactory
from domain.permissions import Permission, PermissionChange, PermissionId, Route
from tests.support.builders import A_MOMENT, a_uuid
from tests.support.waiting import waits

LATER = A_MOMENT + timedelta(hours=1)
LATEST = A_MOMENT + timedelta(hours=2)


def a_route(method: str, path: str, **words: str) -> Route:
    return Route(method=method, path=path, name=words.pop("name", "list_things"), **words)


LIST, MAKE, SHOW = (
    a_route(
        "GET", "/api/v1/users", name="list_users", description="List; 100 % “all”", tag="users"
    ),
    a_route("POST", "/api/v1/users", name="create_user"),
    a_route("GET", "/api/v1/users/{user_id}", name="get_user"),
)


def fresh(routes: Sequence[Route]) -> list[UUID]:
    return [a_uuid() for _ in routes]


async def sync(
    uow: UnitOfWorkFactory, *routes: Route, at: datetime = A_MOMENT
) -> Sequence[PermissionChange]:
    async with uow() as work:
        changes = await work.permissions.sync(routes, ids=fresh(routes), at=at)
        await work.commit()
    return changes


async def catalogue(uow: UnitOfWorkFactory) -> list[Permission]:
    async with uow() as work:
        return list(await work.permissions.all())


async def test_the_catalogue_is_what_was_handed_over(uow: UnitOfWorkFactory) -> None:
    """Ordered by path and method, for any order of the routes."""
    async with uow() as work:
        ids = fresh([SHOW, MAKE, LIST])
        await work.permissions.sync([SHOW, MAKE, LIST], ids=ids, at=A_MOMENT)
        await work.commit()

    assert await catalogue(uow) == [
        Permission(id=PermissionId(ids[2]), route=LIST, first_seen_at=A_MOMENT),
        Permission(id=PermissionId(ids[1]), route=MAKE, first_seen_at=A_MOMENT),
        Permission(id=PermissionId(ids[0]), route=SHOW, first_seen_at=A_MOMENT),
    ]


async def test_a_known_permission_keeps_its_id_and_gets_the_new_texts(
    uow: UnitOfWorkFactory,
) -> None:
    await sync(uow, LIST, MAKE)
    (known, other) = await catalogue(uow)
    reworded = replace(LIST, name="all_users", description="Other words", tag="people")

    await sync(uow, reworded, MAKE, at=LATER)

    assert await catalogue(uow) == [replace(known, route=reworded), other]


async def test_the_permission_of_a_vanished_route_is_marked_and_kept(
    uow: UnitOfWorkFactory,
) -> None:
    await sync(uow, LIST, MAKE)
    (kept, vanished) = await catalogue(uow)

    await sync(uow, LIST, at=LATER)
    await sync(uow, LIST, at=LATEST)

    assert await catalogue(uow) == [kept, replace(vanished, removed_at=LATER)]


async def test_a_route_that_returns_has_its_old_permission(uow: UnitOfWorkFactory) -> None:
    await sync(uow, LIST, MAKE)
    before = await catalogue(uow)
    await sync(uow, LIST, at=LATER)

    await sync(uow, LIST, MAKE, at=LATEST)

    assert await catalogue(uow) == before


async def test_a_sync_returns_what_changed(uow: UnitOfWorkFactory) -> None:
    new = await sync(uow, LIST, MAKE)
    known, other = await catalogue(uow)
    reworded = replace(LIST, description="Other words")

    assert new == [PermissionChange(None, known), PermissionChange(None, other)]
    assert await sync(uow, LIST, MAKE, at=LATER) == []
    assert await sync(uow, reworded, at=LATER) == [
        PermissionChange(known, replace(known, route=reworded)),
        PermissionChange(other, replace(other, removed_at=LATER)),
    ]
    assert await sync(uow, reworded, MAKE, at=LATEST) == [
        PermissionChange(replace(other, removed_at=LATER), other)
    ]


async def test_without_routes_everything_is_removed(uow: UnitOfWorkFactory) -> None:
    await sync(uow)
    assert await catalogue(uow) == []
    await sync(uow, LIST, SHOW)

    await sync(uow, at=LATER)

    assert [permission.removed_at for permission in await catalogue(uow)] == [LATER, LATER]


async def test_uncommitted_changes_are_not_stored(uow: UnitOfWorkFactory) -> None:
    await sync(uow, LIST)
    before = await catalogue(uow)
    async with uow() as work:
        await work.permissions.sync([MAKE], ids=fresh([MAKE]), at=LATER)
        assert len(await work.permissions.all()) == 2
        assert await catalogue(uow) == before

    assert await catalogue(uow) == before


async def test_any_number_of_workers_may_sync_at_once(uow: UnitOfWorkFactory) -> None:
    """Each route gets one id, even if two versions of the application start together."""
    old, new = [LIST, MAKE], [LIST, SHOW]

    await asyncio.gather(*(sync(uow, *routes) for routes in [old, new] * 5))

    found = await catalogue(uow)
    assert [permission.route for permission in found] == [LIST, MAKE, SHOW]
    assert len({permission.id for permission in found}) == 3


async def test_a_sync_waits_for_another_sync(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        await work.permissions.sync([LIST], ids=fresh([LIST]), at=A_MOMENT)
        before = await work.permissions.all()
        syncing = asyncio.create_task(sync(uow, LIST, at=LATER))
        assert await waits(syncing)
        await work.commit()
    await syncing

    assert await catalogue(uow) == list(before)


async def test_codes_that_no_present_route_has_are_missing(uow: UnitOfWorkFactory) -> None:
    await sync(uow, LIST, MAKE, SHOW)
    await sync(uow, LIST, SHOW, at=LATER)
    codes = [
        "GET:/api/v1/users",
        "GET:/api/v1/users/{user_id}",
        "POST:/api/v1/users",
        "GET:/api/v1/users/{id}",
        "GET:/api/v1/%",
        "GET:**",
        "",
        "\0",
        "\ud800",
    ]

    async with uow() as work:
        assert set(await work.permissions.missing(codes)) == set(codes[2:])
        assert set(await work.permissions.missing([])) == set()
