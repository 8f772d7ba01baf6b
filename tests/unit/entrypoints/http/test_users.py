"""The routes of users, as administrators see them."""

from typing import Any
from uuid import UUID

import pytest

from domain.identity import User, UserStatus
from domain.roles import RoleStatus
from tests.support.builders import a_role, a_user
from tests.support.web import Web
from tests.support.world import LAPTOP, PASSWORD, PHONE

USERS = "/api/v1/users"
USER_INFO = "/api/v1/auth/user/info"
NEW_PASSWORD = "purple elephants dance at noon"
GRACE = {"username": "grace.hopper", "email": "grace@example.org", "name": "Grace Hopper"}
NO_USER = UUID(int=0)


async def make(web: Web, **changes: Any) -> dict[str, Any]:
    response = await web.client.post(USERS, json=GRACE | changes)
    assert response.status_code == 201, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


def path_of(user: User) -> str:
    return f"{USERS}/{user.id}"


# --- a user -------------------------------------------------------------------------------------


async def test_a_user_is_made_with_a_one_time_password_and_shown_without(admin_web: Web) -> None:
    await admin_web.world.given_role(a_role("GET:/api/v1/roles", code="reader"))

    made = await make(admin_web, roles=["reader"])

    assert made.pop("oneTimePassword")
    assert made == GRACE | {
        "id": made["id"],
        "status": "active",
        "isAdmin": False,
        "mustChangePassword": True,
        "createdAt": "2026-03-01T12:00:00Z",
        "updatedAt": "2026-03-01T12:00:00Z",
        "passwordChangedAt": "2026-03-01T12:00:00Z",
        "lastLoginAt": None,
        "roles": ["reader"],
        "permissionCodes": ["GET:/api/v1/roles"],
        "buttonPermissions": [],
        "routerPermissions": [],
    }
    shown = await admin_web.client.get(f"{USERS}/{made['id']}")
    assert shown.json()["data"] == made


async def test_a_user_who_is_made_with_a_password_logs_in_with_it(admin_web: Web) -> None:
    made = await make(admin_web, **admin_web.sealed(PASSWORD))

    assert (made["oneTimePassword"], made["mustChangePassword"]) == (None, False)
    response = await admin_web.client.post(
        "/api/v1/auth/login", json={"username": "grace.hopper", **admin_web.sealed(PASSWORD)}
    )
    assert response.json()["data"]["user"]["id"] == made["id"]


async def test_a_one_time_password_opens_the_change_of_password_and_then_everything(
    admin_web: Web,
) -> None:
    """From an administrator who makes an account to a person who uses it."""
    web = admin_web
    await web.world.given_role(a_role("GET:/api/v1/users", code="reader"))
    made = await make(web, roles=["reader"])
    one_time = made["oneTimePassword"]
    logged_in = await web.client.post(
        "/api/v1/auth/login", json={"username": "grace.hopper", **web.sealed(one_time)}
    )
    bearer = {"Authorization": f"Bearer {logged_in.json()['data']['accessToken']}"}

    closed = await web.client.get(USERS, headers=bearer)
    assert (closed.status_code, closed.json()["error"]) == (
        403,
        "identity.password_change_required",
    )
    info = await web.client.get(USER_INFO, headers=bearer)
    assert info.json()["data"]["mustChangePassword"] is True

    change = {
        **web.sealed(one_time, field="oldPassword"),
        **web.sealed(NEW_PASSWORD, field="newPassword"),
    }
    changed = await web.client.post("/api/v1/auth/password", json=change, headers=bearer)
    assert changed.status_code == 200
    assert (await web.client.get(USERS, headers=bearer)).status_code == 200


async def test_the_access_of_a_user_is_the_sum_of_their_active_roles(admin_web: Web) -> None:
    ada = await admin_web.world.given(
        a_user(),
        a_role("GET:**", "GET:/a", code="b-role", buttons=frozenset({"x", "y"})),
        a_role(
            "GET:/a",
            "PUT:/b",
            code="a-role",
            buttons=frozenset({"y", "z"}),
            routers=frozenset({"/r"}),
        ),
        a_role("*:**", code="c-role", status=RoleStatus.DISABLED, routers=frozenset({"/no"})),
    )

    for path, headers in (
        (path_of(ada), {}),
        (USER_INFO, await admin_web.bearer(ada)),
    ):
        data = (await admin_web.client.get(path, headers=headers)).json()["data"]
        assert data["roles"] == ["a-role", "b-role", "c-role"]
        assert data["permissionCodes"] == ["GET:**", "GET:/a", "PUT:/b"]
        assert data["buttonPermissions"] == ["x", "y", "z"]
        assert data["routerPermissions"] == ["/r"]


async def test_an_administrator_may_do_everything(admin_web: Web) -> None:
    data = (await admin_web.client.get(USER_INFO)).json()["data"]

    assert (data["isAdmin"], data["roles"], data["permissionCodes"]) == (True, [], ["*:**"])


@pytest.mark.parametrize(
    ("changes", "field", "kind"),
    [
        ({"username": "e"}, ["username"], "identity.invalid_username"),
        ({"email": "nowhere"}, ["email"], "identity.invalid_email"),
        ({"name": "A"}, ["name"], "identity.invalid_name"),
        ({"password": "%%%"}, ["password"], "identity.unreadable_password"),
        ({"status": "gone"}, ["status"], "enum"),
        ({"isAdmin": "true"}, ["isAdmin"], "bool_type"),
        ({"roles": ["No Role"]}, ["roles", 0], "access.invalid_role"),
        ({"roles": ["nobodys"]}, ["roles"], "access.unknown_roles"),
        ({"roles": None}, ["roles"], "is_instance_of"),
        ({"passwordHash": "x"}, ["passwordHash"], "extra_forbidden"),
    ],
    ids=str,
)
async def test_a_value_that_breaks_a_rule_is_named(
    admin_web: Web, changes: dict[str, Any], field: list[str | int], kind: str
) -> None:
    response = await admin_web.client.post(USERS, json=GRACE | changes)

    assert response.status_code == 422
    assert [(e["loc"], e["type"]) for e in response.json()["errors"]] == [(["body", *field], kind)]
    assert len(admin_web.world.store.users) == 1


async def test_every_field_that_is_wrong_is_named_at_once(admin_web: Web) -> None:
    wrong = {"username": "", "email": "nowhere", "name": "", "roles": ["?"]}

    response = await admin_web.client.post(USERS, json=wrong)

    assert response.status_code == 422
    assert [(e["loc"], e["type"]) for e in response.json()["errors"]] == [
        (["body", "username"], "identity.invalid_username"),
        (["body", "email"], "identity.invalid_email"),
        (["body", "name"], "identity.invalid_name"),
        (["body", "roles", 0], "access.invalid_role"),
    ]


async def test_roles_that_do_not_exist_are_listed(admin_web: Web) -> None:
    response = await admin_web.client.post(USERS, json=GRACE | {"roles": ["writer", "editor"]})

    assert response.json()["detail"] == "There is no role editor, writer"


async def test_a_bad_password_comes_with_the_rule_that_failed(admin_web: Web) -> None:
    response = await admin_web.client.post(
        USERS, json={**GRACE, **admin_web.sealed("grace.hopper")}
    )

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["loc"], error["type"]) == (["body", "password"], "too_similar")


async def test_a_name_or_an_email_that_is_taken_is_a_conflict(admin_web: Web) -> None:
    await make(admin_web)
    other = await admin_web.world.given(a_user())

    answers = [
        await admin_web.client.post(USERS, json=GRACE | {"email": "other@example.org"}),
        await admin_web.client.patch(path_of(other), json={"email": "GRACE@example.org"}),
    ]

    assert [(a.status_code, a.json()["error"]) for a in answers] == [
        (409, "identity.username_taken"),
        (409, "identity.email_taken"),
    ]


# --- changing -----------------------------------------------------------------------------------


async def test_a_change_changes_what_it_names_and_nothing_else(admin_web: Web) -> None:
    await admin_web.world.given_role(a_role(code="editor"))
    ada = await admin_web.world.given(a_user(), a_role(code="reader"))
    before = (await admin_web.client.get(path_of(ada))).json()["data"]

    answers = [
        await admin_web.client.patch(path_of(ada), json=changes)
        for changes in ({"name": "Ada King"}, {"roles": ["editor"], "isAdmin": True}, {})
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    after = (await admin_web.client.get(path_of(ada))).json()["data"]
    assert after == answers[-1].json()["data"]
    assert after == before | {
        "name": "Ada King",
        "roles": ["editor"],
        "isAdmin": True,
        "permissionCodes": ["*:**"],
        "updatedAt": "2026-03-01T12:00:00.000002Z",  # two changes in one tick of the clock
    }


@pytest.mark.parametrize("field", ["username", "email", "name", "status", "isAdmin", "roles"])
async def test_nothing_is_changed_to_nothing(admin_web: Web, field: str) -> None:
    ada = await admin_web.world.given(a_user())

    response = await admin_web.client.patch(path_of(ada), json={field: None})

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["body", field]
    assert admin_web.world.stored(ada) == ada


async def test_a_user_who_is_disabled_is_cut_off_at_their_next_request(admin_web: Web) -> None:
    ada = await admin_web.world.given(a_user())
    bearer = await admin_web.bearer(ada)
    assert (await admin_web.client.get(USER_INFO, headers=bearer)).status_code == 200

    await admin_web.client.patch(path_of(ada), json={"status": "disabled"})

    assert (await admin_web.client.get(USER_INFO, headers=bearer)).status_code == 401


async def test_users_cannot_change_their_own_roles(admin_web: Web) -> None:
    await admin_web.world.given_role(a_role(code="editor"))
    own = (await admin_web.client.get(USER_INFO)).json()["data"]["id"]

    response = await admin_web.client.patch(f"{USERS}/{own}", json={"roles": ["editor"]})

    assert (response.status_code, response.json()["error"]) == (403, "access.own_access")


async def test_the_last_administrator_stays(admin_web: Web) -> None:
    own = (await admin_web.client.get(USER_INFO)).json()["data"]["id"]

    answers = [
        await admin_web.client.patch(f"{USERS}/{own}", json={"isAdmin": False}),
        await admin_web.client.patch(f"{USERS}/{own}", json={"status": "disabled"}),
        await admin_web.client.delete(f"{USERS}/{own}"),
    ]

    assert {(a.status_code, a.json()["error"]) for a in answers} == {
        (409, "access.last_administrator")
    }


async def test_users_cannot_change_a_user_who_may_do_more(web: Web) -> None:
    administrator = await web.world.given(a_user(is_admin=True))
    caller = await web.world.given(a_user(), a_role("*:/api/v1/users/**", "*:/api/v1/users"))
    bearer = await web.bearer(caller)
    path = path_of(administrator)

    answers = [
        await web.client.patch(path, json={"email": "me@evil.example"}, headers=bearer),
        await web.client.post(f"{path}/password", headers=bearer),
        await web.client.delete(path, headers=bearer),
        await web.client.delete(f"{path}/sessions", headers=bearer),
        await web.client.post(USERS, json=GRACE | {"isAdmin": True}, headers=bearer),
    ]

    assert {(a.status_code, a.json()["error"]) for a in answers} == {
        (403, "access.beyond_own_access")
    }
    assert web.world.stored(administrator) == administrator


# --- deleting, and resetting passwords ----------------------------------------------------------


async def test_a_user_who_is_deleted_is_gone(admin_web: Web) -> None:
    ada = await admin_web.world.given(a_user(), a_role())
    bearer = await admin_web.bearer(ada)

    response = await admin_web.client.delete(path_of(ada))

    assert (response.status_code, response.json()["data"]) == (200, None)
    assert (await admin_web.client.get(USER_INFO, headers=bearer)).status_code == 401
    gone = await admin_web.client.get(path_of(ada))
    assert (gone.status_code, gone.json()["error"]) == (404, "identity.user_not_found")
    assert (await admin_web.client.delete(path_of(ada))).status_code == 404


async def test_a_reset_gives_a_one_time_password_and_ends_every_session(admin_web: Web) -> None:
    ada = await admin_web.world.given(a_user())
    bearer = await admin_web.bearer(ada)

    response = await admin_web.client.post(f"{path_of(ada)}/password")

    assert response.status_code == 200
    assert response.json()["data"]["mustChangePassword"] is True
    assert (await admin_web.client.get(USER_INFO, headers=bearer)).status_code == 401
    await admin_web.log_in(ada, response.json()["data"]["oneTimePassword"])


# --- sessions -----------------------------------------------------------------------------------


async def test_an_administrator_sees_and_ends_the_sessions_of_a_user(admin_web: Web) -> None:
    ada = await admin_web.world.given(a_user())
    laptop = await admin_web.bearer(ada, LAPTOP)
    await admin_web.world.pass_time(seconds=1)
    phone = await admin_web.bearer(ada, PHONE)

    listed = (await admin_web.client.get(f"{path_of(ada)}/sessions")).json()["data"]
    assert [(s["address"], s["current"]) for s in listed] == [
        (PHONE.address, False),
        (LAPTOP.address, False),
    ]

    one = await admin_web.client.delete(f"{path_of(ada)}/sessions/{listed[0]['id']}")
    assert one.status_code == 200
    assert (await admin_web.client.get(USER_INFO, headers=phone)).status_code == 401
    assert (await admin_web.client.get(USER_INFO, headers=laptop)).status_code == 200

    rest = await admin_web.client.delete(f"{path_of(ada)}/sessions")
    assert rest.status_code == 200
    assert (await admin_web.client.get(USER_INFO, headers=laptop)).status_code == 401


async def test_an_administrator_recognises_their_own_session(admin_web: Web) -> None:
    own = (await admin_web.client.get(USER_INFO)).json()["data"]["id"]

    (session,) = (await admin_web.client.get(f"{USERS}/{own}/sessions")).json()["data"]

    assert session["current"] is True


# --- lists --------------------------------------------------------------------------------------


async def test_users_come_in_pages_that_filters_narrow(admin_web: Web) -> None:
    editor = a_role(code="editor")
    await admin_web.world.given(a_user(username="ben.turing", name="Ben 100%"), editor)
    await admin_web.world.given(
        a_user(username="cleo.noether", email="c_n@example.org", status=UserStatus.DISABLED), editor
    )

    async def page(**params: Any) -> tuple[list[str], int]:
        data = (await admin_web.client.get(USERS, params=params)).json()["data"]
        return [user["username"] for user in data["records"]], data["total"]

    assert await page() == (["administrator", "ben.turing", "cleo.noether"], 3)
    assert await page(page=2, pageSize=2) == (["cleo.noether"], 3)
    assert await page(keyword="TURING") == (["ben.turing"], 1)
    assert await page(keyword="%") == (["ben.turing"], 1)
    assert await page(keyword="_") == (["cleo.noether"], 1)
    assert await page(status="disabled") == (["cleo.noether"], 1)
    assert await page(role="editor") == (["ben.turing", "cleo.noether"], 2)
    assert await page(role="editor", status="active") == (["ben.turing"], 1)
    assert await page(role="nobodys") == ([], 0)


async def test_no_answer_has_a_hash_of_a_password(admin_web: Web) -> None:
    ada = await admin_web.world.given(a_user())

    for path in (USERS, path_of(ada), USER_INFO):
        response = await admin_web.client.get(path)
        assert "$memory$" not in response.text
        assert "hash" not in response.text.lower()


async def test_a_made_up_id_finds_no_other_user(admin_web: Web) -> None:
    response = await admin_web.client.get(f"{USERS}/{NO_USER}")

    assert response.status_code == 404
    assert response.json()["detail"] == f"There is no user {NO_USER}"


# --- the order of lists -------------------------------------------------------------------------


async def test_a_list_has_the_order_that_is_asked_for(admin_web: Web) -> None:
    for username in ("person-b", "person-c", "person-a"):
        await admin_web.world.given(a_user(username=username))

    async def usernames(sort: str) -> list[str]:
        response = await admin_web.client.get(USERS, params={"keyword": "person-", "sort": sort})
        return [user["username"] for user in response.json()["data"]["records"]]

    assert await usernames("username") == ["person-a", "person-b", "person-c"]
    assert await usernames("-username") == ["person-c", "person-b", "person-a"]
    assert await usernames("-createdAt") == [*reversed(await usernames("createdAt"))]


@pytest.mark.parametrize("sort", ["", "-", "password_hash", "+username", "username,email", "id"])
async def test_an_order_that_a_list_does_not_offer_is_refused(admin_web: Web, sort: str) -> None:
    response = await admin_web.client.get(USERS, params={"sort": sort})

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["query", "sort"]
