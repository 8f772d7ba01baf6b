"""The routes of accounts: registration, the caller's own data, the change of a password."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Unpack

import pytest

from application.settings import Limit, Registration, ThrottleSettings
from domain.identity import User
from tests.support.builders import UserChanges, a_user
from tests.support.web import Web
from tests.support.world import IN_MEMORY, PASSWORD, PHONE, World

REGISTER = "/api/v1/auth/register"
USER_INFO = "/api/v1/auth/user/info"
PASSWORD_CHANGE = "/api/v1/auth/password"
NEW_PASSWORD = "purple elephants dance at noon"
OPEN = replace(IN_MEMORY, registration=Registration.OPEN)
ADA = {"username": "ada.lovelace", "email": "ada@example.org", "name": "Ada Lovelace"}


def ada(**changes: Unpack[UserChanges]) -> User:
    return a_user(username=ADA["username"], email=ADA["email"], name=ADA["name"], **changes)


@pytest.fixture
async def open_web() -> AsyncIterator[Web]:
    async with Web(World(OPEN)) as web:
        yield web


# --- registration -------------------------------------------------------------------------------


async def test_a_person_makes_their_own_account_and_logs_in(open_web: Web) -> None:
    response = await open_web.client.post(REGISTER, json={**ADA, **open_web.sealed(PASSWORD)})

    assert response.status_code == 201
    data = response.json()["data"]
    assert data == {
        **ADA,
        "id": data["id"],
        "status": "active",
        "isAdmin": False,
        "mustChangePassword": False,
        "createdAt": "2026-03-01T12:00:00Z",
        "updatedAt": "2026-03-01T12:00:00Z",
        "passwordChangedAt": "2026-03-01T12:00:00Z",
        "lastLoginAt": None,
        "roles": [],
        "permissionCodes": [],
        "buttonPermissions": [],
        "routerPermissions": [],
    }
    log_in = {"username": "ADA@example.org", **open_web.sealed(PASSWORD)}
    assert (await open_web.client.post("/api/v1/auth/login", json=log_in)).status_code == 200


async def test_registration_is_closed_by_default(web: Web) -> None:
    response = await web.client.post(REGISTER, json={**ADA, **web.sealed(PASSWORD)})

    assert response.status_code == 403
    assert response.json()["error"] == "identity.registration_closed"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"email": "other@example.org"}, "identity.username_taken"),
        ({"username": "other.name"}, "identity.email_taken"),
        ({"username": "ADA.LOVELACE", "email": "other@example.org"}, "identity.username_taken"),
    ],
)
async def test_a_name_or_an_email_that_is_taken_is_a_conflict(
    open_web: Web, changed: dict[str, str], error: str
) -> None:
    await open_web.client.post(REGISTER, json={**ADA, **open_web.sealed(PASSWORD)})

    response = await open_web.client.post(
        REGISTER, json={**ADA, **changed, **open_web.sealed(PASSWORD)}
    )

    assert response.status_code == 409
    assert response.json()["error"] == error


@pytest.mark.parametrize(
    ("changed", "field", "kind"),
    [
        ({"username": "a"}, "username", "identity.invalid_username"),
        ({"username": "ada lovelace"}, "username", "identity.invalid_username"),
        ({"email": "nowhere"}, "email", "identity.invalid_email"),
        ({"name": "A"}, "name", "identity.invalid_name"),
        ({"name": "A\0da"}, "name", "value_error"),
        ({"name": None}, "name", "string_type"),
        ({"isAdmin": True}, "isAdmin", "extra_forbidden"),
        ({"password": "%%%"}, "password", "identity.unreadable_password"),
    ],
)
async def test_a_value_that_breaks_a_rule_is_named(
    open_web: Web, changed: dict[str, Any], field: str, kind: str
) -> None:
    response = await open_web.client.post(
        REGISTER, json={**ADA, **open_web.sealed(PASSWORD), **changed}
    )

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["loc"], error["type"]) == (["body", field], kind)


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("tiny", "too_short"),
        ("x" * 129, "too_long"),
        ("密" * 97, "too_long"),
        ("password1234", "too_common"),
        ("ada.lovelace!", "too_similar"),
    ],
)
async def test_a_password_that_is_refused_comes_with_the_rule_that_failed(
    open_web: Web, password: str, rule: str
) -> None:
    response = await open_web.client.post(REGISTER, json={**ADA, **open_web.sealed(password)})

    assert response.status_code == 422
    assert response.json()["error"] == "identity.password_rejected"
    (error,) = response.json()["errors"]
    assert (error["loc"], error["type"]) == (["body", "password"], rule)
    assert password not in response.text


async def test_one_address_may_not_register_without_end() -> None:
    async with Web(World(replace(OPEN, throttle=ThrottleSettings(public=Limit(1, 60))))) as web:
        statuses = [
            (await web.client.post(REGISTER, json={**ADA, **web.sealed("short")})).status_code
            for _ in range(2)
        ]

    assert statuses == [422, 429]


# --- one's own data -----------------------------------------------------------------------------


async def test_the_caller_sees_their_own_data(web: Web) -> None:
    user = await web.world.given(ada(is_admin=True, must_change_password=True))

    response = await web.client.get(USER_INFO, headers=await web.bearer(user))

    assert response.status_code == 200
    data = response.json()["data"]
    assert data.keys() >= {"roles", "permissionCodes", "buttonPermissions", "routerPermissions"}
    assert {name: data[name] for name in ADA} == ADA
    assert (data["isAdmin"], data["mustChangePassword"]) == (True, True)
    assert data["lastLoginAt"] == "2026-03-01T12:00:00Z"
    assert "hash" not in response.text


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"name": "Ada King"}, {"name": "Ada King"}),
        ({"email": "king@example.org"}, {"email": "king@example.org"}),
        ({"name": " Ada King ", "email": "a@b.c"}, {"name": "Ada King", "email": "a@b.c"}),
        ({}, {}),
    ],
)
async def test_the_caller_changes_what_they_name_and_nothing_else(
    web: Web, changes: dict[str, str], changed: dict[str, str]
) -> None:
    bearer = await web.bearer(await web.world.given(ada()))

    response = await web.client.patch(USER_INFO, json=changes, headers=bearer)

    assert response.status_code == 200
    stored = (await web.client.get(USER_INFO, headers=bearer)).json()["data"]
    assert response.json()["data"] == stored
    assert {name: stored[name] for name in ADA} == ADA | changed


@pytest.mark.parametrize(
    ("changes", "field", "kind"),
    [
        ({"name": None}, "name", "value_error"),
        ({"email": None, "name": "Ada King"}, "email", "value_error"),
        ({"name": 1}, "name", "string_type"),
        ({"username": "other.name"}, "username", "extra_forbidden"),
        ({"isAdmin": True}, "isAdmin", "extra_forbidden"),
        ({"email": "nowhere"}, "email", "identity.invalid_email"),
    ],
)
async def test_a_change_that_may_not_be_is_refused_as_a_whole(
    web: Web, changes: dict[str, Any], field: str, kind: str
) -> None:
    bearer = await web.bearer(await web.world.given(ada()))

    response = await web.client.patch(USER_INFO, json=changes, headers=bearer)

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["loc"], error["type"]) == (["body", field], kind)
    stored = (await web.client.get(USER_INFO, headers=bearer)).json()["data"]
    assert {name: stored[name] for name in ADA} == ADA


async def test_an_email_of_another_user_is_a_conflict(web: Web) -> None:
    await web.world.given(a_user(email="eve@example.org"))
    bearer = await web.bearer(await web.world.given(a_user()))

    response = await web.client.patch(USER_INFO, json={"email": "EVE@example.org"}, headers=bearer)

    assert response.status_code == 409
    assert response.json()["error"] == "identity.email_taken"


# --- the change of a password -------------------------------------------------------------------


def change(web: Web, old: str, new: str) -> dict[str, str | None]:
    return {**web.sealed(old, field="oldPassword"), **web.sealed(new, field="newPassword")}


async def test_a_new_password_ends_every_other_session(web: Web) -> None:
    ada = await web.world.given(a_user())
    phone, laptop = await web.bearer(ada, PHONE), await web.bearer(ada)

    response = await web.client.post(
        PASSWORD_CHANGE, json=change(web, PASSWORD, NEW_PASSWORD), headers=laptop
    )

    assert response.status_code == 200
    assert response.json()["data"] is None
    assert (await web.client.get(USER_INFO, headers=phone)).status_code == 401
    assert (await web.client.get(USER_INFO, headers=laptop)).status_code == 200
    await web.log_in(ada, NEW_PASSWORD)


async def test_a_new_password_lifts_what_a_one_time_password_forbids(web: Web) -> None:
    bearer = await web.bearer(await web.world.given(a_user(must_change_password=True)))
    assert (await web.client.get("/api/v1/auth/sessions", headers=bearer)).status_code == 403

    await web.client.post(PASSWORD_CHANGE, json=change(web, PASSWORD, NEW_PASSWORD), headers=bearer)

    assert (await web.client.get("/api/v1/auth/sessions", headers=bearer)).status_code == 200


@pytest.mark.parametrize(
    ("old", "new", "field", "kind"),
    [
        ("not the password", NEW_PASSWORD, "oldPassword", "identity.wrong_password"),
        (PASSWORD, "short", "newPassword", "too_short"),
        (PASSWORD, PASSWORD, "newPassword", "unchanged"),
    ],
)
async def test_errors_of_a_change_of_password_are_named(
    web: Web, old: str, new: str, field: str, kind: str
) -> None:
    bearer = await web.bearer(await web.world.given(a_user()))

    response = await web.client.post(PASSWORD_CHANGE, json=change(web, old, new), headers=bearer)

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["loc"], error["type"]) == (["body", field], kind)


async def test_a_stolen_session_is_no_place_to_guess_in() -> None:
    strict = replace(IN_MEMORY, throttle=ThrottleSettings(account=Limit(2, 300)))
    async with Web(World(strict)) as web:
        bearer = await web.bearer(await web.world.given(a_user()))
        statuses = [
            (
                await web.client.post(
                    PASSWORD_CHANGE, json=change(web, "a guess", NEW_PASSWORD), headers=bearer
                )
            ).status_code
            for _ in range(3)
        ]

    assert statuses == [422, 422, 429]
