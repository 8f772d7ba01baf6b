"""The catalogue of routes: what changes in it, and what does not."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from domain.routes import Permission, PermissionId, Route, reconcile
from tests.fakes.builders import A_MOMENT

LATER = A_MOMENT + timedelta(hours=1)
LIST = Route(method="GET", path="/users", name="list_users")
MAKE = Route(method="POST", path="/users", name="create_user")
KNOWN = Permission(id=PermissionId(UUID(int=1)), route=LIST, first_seen_at=A_MOMENT)
REMOVED = replace(KNOWN, removed_at=A_MOMENT)
IDS = [UUID(int=11), UUID(int=12)]


@pytest.mark.parametrize(
    ("known", "routes", "changed"),
    [
        ([], [], []),
        ([KNOWN], [LIST], []),
        ([KNOWN], [], [replace(KNOWN, removed_at=LATER)]),
        ([REMOVED], [], []),
        ([REMOVED], [LIST], [KNOWN]),
        ([KNOWN], [replace(LIST, tag="users")], [replace(KNOWN, route=replace(LIST, tag="users"))]),
    ],
    ids=["nothing", "as it was", "vanished", "gone before", "returned", "reworded"],
)
def test_a_known_permission_changes_only_if_its_route_does(
    known: list[Permission], routes: list[Route], changed: list[Permission]
) -> None:
    assert reconcile(known, routes, ids=IDS[: len(routes)], at=LATER) == (changed, [])


def test_a_new_route_gets_the_id_at_its_place() -> None:
    _, new = reconcile([KNOWN], [LIST, MAKE], ids=IDS, at=LATER)

    assert new == [Permission(id=PermissionId(IDS[1]), route=MAKE, first_seen_at=LATER)]


def test_another_method_of_the_same_path_is_another_permission() -> None:
    changed, new = reconcile([KNOWN], [replace(LIST, method="PUT")], ids=IDS[:1], at=LATER)

    assert changed == [replace(KNOWN, removed_at=LATER)]
    assert [permission.route.code.value for permission in new] == ["PUT:/users"]
