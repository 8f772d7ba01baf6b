"""The routes of roles."""

from typing import Any
from uuid import UUID

import pytest

from domain.roles import RoleId, RoleStatus
from tests.support.builders import a_role, a_user
from tests.support.web import Web

ROLES = "/api/v1/roles"
READ, WRITE = "GET:/api/v1/roles", "POST:/api/v1/roles"
EDITOR = {
    "code": "editor",
    "name": "Editor",
    "description": "Writes and corrects.",
    "status": "active",
    "permissions": ["*:/api/v1/roles/**", READ],
    "buttonPermissions": ["role.create", "role.delete"],
    "routerPermissions": ["/roles"],
}

ANY_VERSION = {"If-Match": "*"}


async def make(web: Web, **changes: Any) -> dict[str, Any]:
    response = await web.client.post(ROLES, json=EDITOR | changes)
    assert response.status_code == 201, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


# --- a role -------------------------------------------------------------------------------------


async def test_a_role_is_made_and_shown(admin_web: Web) -> None:
    made = await make(admin_web)

    assert made == EDITOR | {
        "id": made["id"],
        "createdAt": "2026-03-01T12:00:00Z",
        "updatedAt": "2026-03-01T12:00:00Z",
    }
    shown = await admin_web.client.get(f"{ROLES}/{made['id']}")
    assert shown.json()["data"] == made


async def test_a_role_may_be_made_in_snake_case_of_little(admin_web: Web) -> None:
    body = {"code": "reader", "name": "Reader", "button_permissions": ["x"]}

    response = await admin_web.client.post(ROLES, json=body)

    made = response.json()["data"]
    assert (made["status"], made["permissions"], made["buttonPermissions"]) == ("active", [], ["x"])


async def test_a_role_is_replaced_as_a_whole(admin_web: Web) -> None:
    made = await make(admin_web)
    await admin_web.world.pass_time(minutes=1)

    response = await admin_web.client.put(
        f"{ROLES}/{made['id']}",
        json={"code": "writer", "name": "Writer", "status": "disabled"},
        headers=ANY_VERSION,
    )

    assert response.status_code == 200
    assert response.json()["data"] == made | {
        "code": "writer",
        "name": "Writer",
        "description": "",
        "status": "disabled",
        "permissions": [],
        "buttonPermissions": [],
        "routerPermissions": [],
        "updatedAt": "2026-03-01T12:01:00Z",
    }


@pytest.mark.parametrize(
    ("changes", "field", "kind"),
    [
        ({"code": "Éditor"}, ["code"], "access.invalid_role"),
        ({"code": "e"}, ["code"], "access.invalid_role"),
        ({"name": "E"}, ["name"], "access.invalid_role"),
        ({"name": "Edi\0tor"}, ["name"], "value_error"),
        ({"description": "x" * 501}, ["description"], "access.invalid_role"),
        ({"status": "gone"}, ["status"], "enum"),
        ({"permissions": ["nonsense"]}, ["permissions", 0], "access.invalid_grant"),
        ({"permissions": ["GET:/a b"]}, ["permissions", 0], "access.invalid_grant"),
        ({"permissions": ["FETCH:/**/**x"]}, ["permissions", 0], "access.invalid_grant"),
        ({"permissions": ["GET:/**/a"]}, ["permissions", 0], "access.invalid_grant"),
        ({"permissions": [1]}, ["permissions", 0], "string_type"),
        ({"permissions": "GET:**"}, ["permissions"], "sequence_str"),
        ({"permissions": ["GET:**"] * 1001}, ["permissions"], "too_long"),
        ({"buttonPermissions": [""]}, ["buttonPermissions", 0], "access.invalid_role"),
        ({"routerPermissions": ["x" * 201]}, ["routerPermissions", 0], "access.invalid_role"),
        ({"id": str(UUID(int=1))}, ["id"], "extra_forbidden"),
    ],
    ids=str,
)
async def test_a_value_that_breaks_a_rule_is_named(
    admin_web: Web, changes: dict[str, Any], field: list[str | int], kind: str
) -> None:
    response = await admin_web.client.post(ROLES, json=EDITOR | changes)

    assert response.status_code == 422
    assert [(e["loc"], e["type"]) for e in response.json()["errors"]] == [(["body", *field], kind)]
    assert admin_web.world.store.roles == {}


async def test_every_field_that_is_wrong_is_named_at_once(admin_web: Web) -> None:
    wrong = {"code": "?", "name": "", "permissions": [READ, "nonsense"], "buttonPermissions": [""]}

    response = await admin_web.client.post(ROLES, json=wrong)

    assert response.status_code == 422
    assert response.json()["error"] == "http.invalid"
    assert [e["loc"] for e in response.json()["errors"]] == [
        ["body", "code"],
        ["body", "name"],
        ["body", "permissions", 1],
        ["body", "buttonPermissions", 0],
    ]


async def test_codes_that_no_route_has_are_listed(admin_web: Web) -> None:
    unknown = ["GET:/api/v1/role", "POST:/roles"]

    response = await admin_web.client.post(
        ROLES, json=EDITOR | {"permissions": [READ, *unknown, "GET:/nowhere/**"]}
    )

    assert response.status_code == 422
    assert response.json()["error"] == "access.unknown_permissions"
    assert response.json()["detail"] == f"No route has the code {', '.join(unknown)}"


async def test_a_name_or_a_code_that_is_taken_is_a_conflict(admin_web: Web) -> None:
    made = await make(admin_web)
    other = await make(admin_web, code="writer", name="Writer")

    same_code = await admin_web.client.post(ROLES, json=EDITOR | {"name": "Another"})
    same_name = await admin_web.client.put(
        f"{ROLES}/{other['id']}",
        json=EDITOR | {"code": "writer", "name": "EDITOR"},
        headers=ANY_VERSION,
    )

    assert [r.status_code for r in (same_code, same_name)] == [409, 409]
    assert same_code.json()["error"] == "access.role_code_taken"
    assert same_name.json()["error"] == "access.role_name_taken"
    assert (await admin_web.client.get(f"{ROLES}/{made['id']}")).json()["data"] == made


async def test_users_cannot_give_permissions_that_they_do_not_hold(web: Web) -> None:
    caller = await web.world.given(a_user(), a_role(WRITE, READ))
    bearer = await web.bearer(caller)

    buttons = await web.client.post(ROLES, json=EDITOR | {"permissions": [READ]}, headers=bearer)
    within = await web.client.post(
        ROLES,
        json=EDITOR | {"permissions": [READ], "buttonPermissions": [], "routerPermissions": []},
        headers=bearer,
    )
    beyond = await web.client.post(
        ROLES, json=EDITOR | {"code": "b2", "name": "B2", "permissions": ["*:**"]}, headers=bearer
    )

    assert (buttons.status_code, buttons.json()["error"]) == (403, "access.beyond_own_access")
    assert within.status_code == 201
    assert (beyond.status_code, beyond.json()["error"]) == (403, "access.beyond_own_access")
    assert "*:**" in beyond.json()["detail"]


async def test_users_cannot_edit_or_delete_a_role_that_they_have(web: Web) -> None:
    own = a_role("*:**")
    bearer = await web.bearer(await web.world.given(a_user(), own))

    answers = [
        await web.client.put(f"{ROLES}/{own.id}", json=EDITOR, headers=bearer | ANY_VERSION),
        await web.client.delete(f"{ROLES}/{own.id}", params={"force": True}, headers=bearer),
        await web.client.request(
            "DELETE", ROLES, json={"ids": [str(own.id)], "force": True}, headers=bearer
        ),
    ]

    assert {(a.status_code, a.json()["error"]) for a in answers} == {(403, "access.own_access")}


# --- deleting -----------------------------------------------------------------------------------


async def test_a_role_in_use_is_deleted_only_by_force(admin_web: Web) -> None:
    role = a_role()
    ada = await admin_web.world.given(a_user(), role)

    refused = await admin_web.client.delete(f"{ROLES}/{role.id}")
    still = await admin_web.client.delete(f"{ROLES}/{role.id}", params={"force": "false"})
    forced = await admin_web.client.delete(f"{ROLES}/{role.id}", params={"force": "true"})

    assert (refused.status_code, refused.json()["error"]) == (409, "access.role_in_use")
    assert still.status_code == 409
    assert (forced.status_code, forced.json()["data"]) == (200, None)
    shown = await admin_web.client.get(f"/api/v1/users/{ada.id}")
    assert shown.json()["data"]["roles"] == []


async def test_roles_are_deleted_all_together_or_not_at_all(admin_web: Web) -> None:
    first, second = [await make(admin_web, code=f"r{n}", name=f"Role {n}") for n in (1, 2)]
    nothing = str(UUID(int=0))

    missing = await admin_web.client.request("DELETE", ROLES, json={"ids": [first["id"], nothing]})
    assert (missing.status_code, missing.json()["error"]) == (404, "access.role_not_found")
    assert nothing in missing.json()["detail"]

    deleted = await admin_web.client.request(
        "DELETE", ROLES, json={"ids": [first["id"], second["id"]]}
    )
    assert deleted.status_code == 200
    assert (await admin_web.client.get(f"{ROLES}/all")).json()["data"] == []


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([], "too_short"),
        ([str(UUID(int=1))] * 2, "value_error"),
        ([str(UUID(int=n)) for n in range(101)], "too_long"),
    ],
    ids=["none", "the same twice", "too many"],
)
async def test_a_list_of_ids_has_each_once_and_not_too_many(
    admin_web: Web, ids: list[str], kind: str
) -> None:
    response = await admin_web.client.request("DELETE", ROLES, json={"ids": ids})

    assert response.status_code == 422
    assert [(e["loc"], e["type"]) for e in response.json()["errors"]] == [(["body", "ids"], kind)]


# --- lists --------------------------------------------------------------------------------------


async def test_roles_come_in_pages_that_filters_narrow(admin_web: Web) -> None:
    for code, name, status in (
        ("editor", "Writes", RoleStatus.ACTIVE),
        ("reader", "Reads 100%", RoleStatus.ACTIVE),
        ("writer", "Writes too", RoleStatus.DISABLED),
    ):
        await admin_web.world.given_role(a_role(code=code, name=name, status=status))

    async def page(**params: Any) -> tuple[list[str], int]:
        response = await admin_web.client.get(ROLES, params=params)
        data = response.json()["data"]
        assert (data["page"], data["pageSize"]) == (
            params.get("page", 1),
            params.get("pageSize", 20),
        )
        return [role["code"] for role in data["records"]], data["total"]

    assert await page() == (["editor", "reader", "writer"], 3)
    assert await page(page=2, pageSize=2) == (["writer"], 3)
    assert await page(page=3, pageSize=2) == ([], 3)
    assert await page(keyword="WRITE") == (["editor", "writer"], 2)
    assert await page(keyword="write", status="disabled") == (["writer"], 1)
    assert await page(keyword="%") == (["reader"], 1)


async def test_a_user_without_permissions_sees_their_own_roles_and_no_others(web: Web) -> None:
    bearer = await web.bearer(
        await web.world.given(a_user(), a_role(code="mine", status=RoleStatus.DISABLED))
    )
    other = await web.world.given_role(a_role())

    mine = await web.client.get(f"{ROLES}/mine", headers=bearer)
    others = [
        await web.client.get(path, headers=bearer)
        for path in (ROLES, f"{ROLES}/all", f"{ROLES}/{other.id}", f"{ROLES}/{other.id}/users")
    ]

    assert [(role["code"], role["status"]) for role in mine.json()["data"]] == [
        ("mine", "disabled")
    ]
    assert {response.status_code for response in others} == {403}


async def test_the_users_of_a_role_are_listed_in_pages(admin_web: Web) -> None:
    role = a_role(code="editor")
    for username in ("ada.lovelace", "ben.turing"):
        await admin_web.world.given(a_user(username=username), role)

    response = await admin_web.client.get(f"{ROLES}/{role.id}/users", params={"pageSize": 1})

    data = response.json()["data"]
    assert data["total"] == 2
    assert [(user["username"], user["roles"]) for user in data["records"]] == [
        ("ada.lovelace", ["editor"])
    ]


# --- in force at the next request ---------------------------------------------------------------


async def test_grants_of_a_role_are_in_force_at_the_next_request(admin_web: Web) -> None:
    made = await make(admin_web, permissions=[READ])
    ada = await admin_web.world.given(
        a_user(), admin_web.world.store.roles[next(iter(admin_web.world.store.roles))]
    )
    bearer = await admin_web.bearer(ada)

    async def status() -> int:
        return (await admin_web.client.get(ROLES, headers=bearer)).status_code

    async def replace(**changes: Any) -> None:
        response = await admin_web.client.put(
            f"{ROLES}/{made['id']}", json=EDITOR | changes, headers=ANY_VERSION
        )
        assert response.status_code == 200

    assert await status() == 200
    await replace(permissions=[WRITE])
    assert await status() == 403
    await replace(permissions=["GET:/**"])
    assert await status() == 200
    await replace(permissions=["GET:/**"], status="disabled")
    assert await status() == 403


async def test_a_role_with_too_many_patterns_is_refused_with_the_number(admin_web: Web) -> None:
    body = EDITOR | {"permissions": [f"GET:/a/{n}/*" for n in range(51)]}

    response = await admin_web.client.post(ROLES, json=body)

    assert (response.status_code, response.json()["error"]) == (422, "access.too_much_access")
    assert response.json()["detail"] == (
        "The role editor would give 51 patterns, and 50 is the most"
    )
    assert [error["loc"] for error in response.json()["errors"]] == [["body", "permissions"]]


async def test_lists_do_not_carry_what_roles_give(admin_web: Web) -> None:
    """A list of 100 users with 20 large roles each had 47 MiB."""
    made = await make(admin_web)
    role = admin_web.world.store.roles[RoleId(UUID(made["id"]))]
    ada = await admin_web.world.given(a_user(), role)
    bearer = await admin_web.bearer(ada)
    listed = {
        name: made[name]
        for name in ("id", "code", "name", "description", "status", "createdAt", "updatedAt")
    }

    page = await admin_web.client.get(ROLES)
    every = await admin_web.client.get(f"{ROLES}/all")
    mine = await admin_web.client.get(f"{ROLES}/mine", headers=bearer)
    users = await admin_web.client.get("/api/v1/users", params={"role": "editor"})
    holders = await admin_web.client.get(f"{ROLES}/{made['id']}/users")

    assert page.json()["data"]["records"] == every.json()["data"] == [listed]
    assert mine.json()["data"] == [listed]
    assert users.json()["data"] == holders.json()["data"]
    (user,) = users.json()["data"]["records"]
    assert user["roles"] == ["editor"]
    assert not {"permissionCodes", "buttonPermissions", "routerPermissions"} & user.keys()


async def test_codes_of_roles_keep_their_case_and_are_compared_without(admin_web: Web) -> None:
    made = await make(admin_web, code="ROLE_ADMIN")

    again = await admin_web.client.post(
        ROLES, json=EDITOR | {"code": "role_admin", "name": "Other"}
    )
    ada = await admin_web.world.given(a_user())
    given = await admin_web.client.patch(f"/api/v1/users/{ada.id}", json={"roles": ["Role_Admin"]})
    found = await admin_web.client.get("/api/v1/users", params={"role": "role_admin"})
    listed = await admin_web.client.get(ROLES, params={"keyword": "role_A"})

    assert made["code"] == "ROLE_ADMIN"
    assert (again.status_code, again.json()["error"]) == (409, "access.role_code_taken")
    assert given.json()["data"]["roles"] == ["ROLE_ADMIN"]
    assert [user["id"] for user in found.json()["data"]["records"]] == [str(ada.id)]
    assert [role["code"] for role in listed.json()["data"]["records"]] == ["ROLE_ADMIN"]
