"""The catalogue of routes: what changes in it, and what does not."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from domain.permissions import Permission, PermissionChange, PermissionId, Route, reconcile
from tests.support.builders import A_MOMENT
from tests.support.world import World

LATER = A_MOMENT + timedelta(hours=1)
LIST = Route(method="GET", path="/users", name="list_users")
REWORDED = replace(LIST, tag="users")
MAKE = Route(method="POST", path="/users", name="create_user")
KNOWN = Permission(id=PermissionId(UUID(int=1)), route=LIST, first_seen_at=A_MOMENT)
REMOVED = replace(KNOWN, removed_at=A_MOMENT)
IDS = [UUID(int=11), UUID(int=12)]


@pytest.mark.parametrize(
    ("known", "routes"),
    [([], []), ([KNOWN], [LIST]), ([REMOVED], [])],
    ids=["nothing", "as it was", "gone before"],
)
def test_an_equal_route_does_not_change(known: list[Permission], routes: list[Route]) -> None:
    assert reconcile(known, routes, ids=IDS[: len(routes)], at=LATER) == []


@pytest.mark.parametrize(
    ("before", "routes", "after"),
    [
        (KNOWN, [], replace(KNOWN, removed_at=LATER)),
        (REMOVED, [LIST], KNOWN),
        (KNOWN, [REWORDED], replace(KNOWN, route=REWORDED)),
    ],
    ids=["vanished", "returned", "reworded"],
)
def test_a_known_permission_changes_with_its_route(
    before: Permission, routes: list[Route], after: Permission
) -> None:
    changes = reconcile([before], routes, ids=IDS[: len(routes)], at=LATER)

    assert changes == [PermissionChange(before, after)]


def test_a_new_route_gets_the_id_at_its_place() -> None:
    new = Permission(id=PermissionId(IDS[1]), route=MAKE, first_seen_at=LATER)

    changes = reconcile([KNOWN], [LIST, MAKE], ids=IDS, at=LATER)

    assert changes == [PermissionChange(None, new)]


def test_another_method_of_the_same_path_is_another_permission() -> None:
    vanished, new = reconcile([KNOWN], [replace(LIST, method="PUT")], ids=IDS[:1], at=LATER)

    assert vanished == PermissionChange(KNOWN, replace(KNOWN, removed_at=LATER))
    assert new.after.route.code.value == "PUT:/users"


async def test_every_change_of_the_catalogue_is_recorded(world: World) -> None:
    for routes in ([LIST], [LIST], [REWORDED, MAKE], [REWORDED], [LIST, MAKE]):
        await world.container.sync_routes()(routes)

    assert [entry.details for entry in world.audit_entries()] == [
        {"added": ["GET:/users"]},
        {"added": ["POST:/users"], "reworded": ["GET:/users"]},
        {"removed": ["POST:/users"]},
        {"added": ["POST:/users"], "reworded": ["GET:/users"]},
    ]
    assert {(entry.action, entry.actor) for entry in world.audit_entries()} == {
        ("permissions.changed", None)
    }


async def test_of_many_processes_that_start_at_once_one_records_what_changed(world: World) -> None:
    await asyncio.gather(*(world.container.sync_routes()([LIST, MAKE]) for _ in range(10)))

    assert [entry.details for entry in world.audit_entries()] == [
        {"added": ["GET:/users", "POST:/users"]}
    ]
