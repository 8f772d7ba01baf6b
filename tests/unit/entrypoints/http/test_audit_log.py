"""The audit log, and what users see of it."""

from typing import Any

import pytest

from domain.audit_log import AuditEntry
from domain.sessions import InvalidCredentials
from tests.support.builders import a_user
from tests.support.web import Web
from tests.support.world import PHONE

AUDIT = "/api/v1/audit"
ACTIVITY = "/api/v1/auth/activity"


async def listed(web: Web, path: str = AUDIT, **params: Any) -> list[dict[str, Any]]:
    """Return all that a filter finds, slice by slice."""
    await web.world.deliver()
    records: list[dict[str, Any]] = []
    while True:
        response = await web.client.get(path, params=params)
        assert response.status_code == 200, response.text
        data = response.json()["data"]
        records += data["records"]
        if data["nextCursor"] is None:
            return records
        params["cursor"] = data["nextCursor"]


async def test_changes_are_listed_with_the_newest_first(admin_web: Web) -> None:
    world = admin_web.world
    ada = await world.given(a_user())
    await world.pass_time(minutes=1)
    response = await admin_web.client.patch(
        f"/api/v1/users/{ada.id}",
        json={"status": "disabled"},
        headers={"X-Request-ID": "quote-me-1"},
    )
    assert response.status_code == 200

    newest, *_, second, first = await listed(admin_web)

    (administrator,) = [user for user in world.store.users.values() if user.is_admin]
    assert newest == {
        "id": newest["id"],
        "at": "2026-03-01T12:01:00Z",
        "action": "users.changed",
        "outcome": "success",
        "actor": str(administrator.id),
        "target": f"user:{ada.id}",
        "address": "192.0.2.1",
        "agent": admin_web.client.headers["user-agent"],
        "requestId": "quote-me-1",
        "details": {"status": {"from": "active", "to": "disabled"}},
    }
    assert second["action"] == "sessions.logged_in"
    assert (first["action"], first["actor"]) == ("permissions.changed", None)


async def test_filters_narrow_the_list(admin_web: Web) -> None:
    world = admin_web.world
    ada = await world.given(a_user())
    await admin_web.client.post(
        "/api/v1/auth/login", json={"username": ada.username.value, **admin_web.sealed("wrong")}
    )
    await world.pass_time(minutes=5)
    await admin_web.bearer(ada, PHONE)
    await admin_web.client.delete(f"/api/v1/users/{ada.id}")

    async def actions(**params: Any) -> list[str]:
        return [entry["action"] for entry in await listed(admin_web, **params)]

    assert await actions(action="users.") == ["users.deleted"]
    assert await actions(action="users.deleted") == ["users.deleted"]
    assert await actions(action="users") == []
    assert await actions(actor=str(ada.id)) == ["sessions.logged_in"]
    everything = ["users.deleted", "sessions.logged_in", "sessions.log_in_failed"]
    assert await actions(target=f"user:{ada.id}") == everything
    assert await actions(concerned=str(ada.id)) == everything
    assert await actions(outcome="failure") == ["sessions.log_in_failed"]
    assert await actions(since="2026-03-01T12:05:00Z", action="sessions.") == ["sessions.logged_in"]
    assert await actions(since="2026-03-01T13:05:00+01:00", action="users.") == ["users.deleted"]
    assert await actions(until="2026-03-01T12:05:00Z", target=f"user:{ada.id}") == [
        "sessions.log_in_failed"
    ]


async def test_a_cursor_goes_on_where_the_slice_before_ended(admin_web: Web) -> None:
    for _ in range(7):
        await admin_web.bearer(await admin_web.world.given(a_user()))

    whole = await listed(admin_web, pageSize=100)
    in_slices = await listed(admin_web, pageSize=3)

    assert len(whole) == 9  # the first one is of the catalogue
    assert in_slices == whole


async def test_entries_added_meanwhile_do_not_shift_the_slices(admin_web: Web) -> None:
    for _ in range(4):
        await admin_web.bearer(await admin_web.world.given(a_user()))
    before = await listed(admin_web)
    first = (await admin_web.client.get(AUDIT, params={"pageSize": 2})).json()["data"]
    await admin_web.world.pass_time(seconds=1)
    await admin_web.bearer(await admin_web.world.given(a_user()))

    rest = await listed(admin_web, cursor=first["nextCursor"])

    assert first["records"] + rest == before


async def test_users_see_what_they_did_and_nothing_of_what_concerns_others(web: Web) -> None:
    ada, ben = await web.world.given(a_user()), await web.world.given(a_user())
    bearer = await web.bearer(ada)
    await web.bearer(ben)
    await web.client.patch("/api/v1/auth/user/info", json={"name": "Ada King"}, headers=bearer)
    web.client.headers.update(bearer)

    activity = await listed(web, ACTIVITY, pageSize=1)

    assert {entry["actor"] for entry in activity} == {str(ada.id)}
    assert [entry["action"] for entry in activity] == [
        "users.profile_changed",
        "sessions.logged_in",
    ]
    assert (await web.client.get(AUDIT)).status_code == 403


async def test_users_see_who_tried_to_log_in_as_them_and_from_where(web: Web) -> None:
    ada = await web.world.given(a_user())
    with pytest.raises(InvalidCredentials):
        await web.world.log_in(ada.email.value, "a guess", PHONE)
    web.client.headers.update(await web.bearer(ada))

    _, failed = await listed(web, ACTIVITY)

    assert (failed["action"], failed["outcome"]) == ("sessions.log_in_failed", "failure")
    assert (failed["actor"], failed["target"]) == (None, f"user:{ada.id}")
    assert (failed["address"], failed["agent"]) == (PHONE.address, PHONE.agent)


async def test_users_see_what_others_did_to_them_but_not_from_where(admin_web: Web) -> None:
    ada = await admin_web.world.given(a_user())
    await admin_web.client.patch(f"/api/v1/users/{ada.id}", json={"name": "Ada King"})
    await admin_web.client.delete(f"/api/v1/users/{ada.id}/sessions")
    bearer = await admin_web.bearer(ada)
    admin_web.client.headers.update(bearer)

    entries = await listed(admin_web, ACTIVITY)

    by_others = [entry for entry in entries if entry["actor"] != str(ada.id)]
    assert [entry["action"] for entry in by_others] == ["sessions.ended", "users.changed"]
    assert {(e["address"], e["agent"], e["requestId"]) for e in by_others} == {("", "", "")}
    assert all(e["address"] for e in entries if e not in by_others)


async def test_no_entry_has_a_password_or_a_token(admin_web: Web) -> None:
    made = await admin_web.client.post(
        "/api/v1/users",
        json={"username": "grace.hopper", "email": "g@example.org", "name": "Grace"},
    )
    one_time = made.json()["data"]["oneTimePassword"]
    tokens = (
        await admin_web.client.post(
            "/api/v1/auth/login", json={"username": "grace.hopper", **admin_web.sealed(one_time)}
        )
    ).json()["data"]
    entries: list[AuditEntry] = admin_web.world.audit_entries()

    await listed(admin_web)
    response = await admin_web.client.get(AUDIT)

    assert len(entries) >= 3
    for secret in (one_time, tokens["accessToken"], tokens["refreshToken"], "$memory$"):
        assert secret not in response.text
