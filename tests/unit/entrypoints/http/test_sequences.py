"""Sequences over HTTP."""

from typing import Any

import pytest

from tests.support.builders import a_user
from tests.support.web import Web

ORDERS = "/api/v1/sequences/orders"


async def taken(web: Web, **body: Any) -> dict[str, int]:
    response = await web.client.post(f"{ORDERS}/next", json=body)
    assert response.status_code == 200, response.text
    data: dict[str, int] = response.json()["data"]
    return data


async def test_numbers_are_taken_one_by_one_or_many_at_once(admin_web: Web) -> None:
    assert await taken(admin_web) == {"first": 1, "last": 1}
    assert await taken(admin_web, count=10) == {"first": 2, "last": 11}
    assert await taken(admin_web, conditions={"shop": "456"}) == {"first": 1, "last": 1}


async def test_the_state_is_shown_without_taking_a_number(admin_web: Web) -> None:
    await taken(admin_web, conditions={"till": "2", "shop": "4:5"}, count=3)

    params = {"condition": ["shop:4:5", "till:2"]}
    found = await admin_web.client.get(ORDERS, params=params)
    other = await admin_web.client.get(ORDERS)

    assert found.json()["data"] == {
        "name": "orders",
        "conditions": {"shop": "4:5", "till": "2"},
        "value": 3,
    }
    assert (other.status_code, other.json()["error"]) == (404, "sequences.not_found")


async def test_a_reset_needs_the_value_that_the_caller_saw_and_is_audited(admin_web: Web) -> None:
    await taken(admin_web, count=3)

    seen = (await admin_web.client.get(ORDERS)).headers["ETag"]
    await taken(admin_web)

    unseen = await admin_web.client.put(ORDERS, json={"value": 100})
    late = await admin_web.client.put(ORDERS, json={"value": 100}, headers={"If-Match": seen})
    seen = (await admin_web.client.get(ORDERS)).headers["ETag"]
    reset = await admin_web.client.put(ORDERS, json={"value": 100}, headers={"If-Match": seen})

    assert [response.status_code for response in (unseen, late, reset)] == [428, 412, 200]
    assert reset.headers["ETag"] == (await admin_web.client.get(ORDERS)).headers["ETag"]
    assert await taken(admin_web) == {"first": 101, "last": 101}
    [entry] = [e for e in admin_web.world.audit_entries() if e.action.startswith("sequences.")]
    assert (entry.action, entry.target) == ("sequences.reset", "sequence:orders")
    assert entry.details == {"conditions": {}, "value": {"from": 4, "to": 100}}


async def test_a_deletion_needs_the_value_that_the_caller_saw_and_is_audited(
    admin_web: Web,
) -> None:
    await taken(admin_web, count=3)

    seen = (await admin_web.client.get(ORDERS)).headers["ETag"]
    await taken(admin_web)

    late = await admin_web.client.delete(ORDERS, headers={"If-Match": seen})
    deleted = await admin_web.client.delete(ORDERS)
    again = await admin_web.client.delete(ORDERS)

    assert [response.status_code for response in (late, deleted, again)] == [412, 200, 404]
    assert [
        entry.action
        for entry in admin_web.world.audit_entries()
        if entry.action.startswith("sequences.")
    ] == ["sequences.deleted"]


@pytest.mark.parametrize(
    "body",
    [
        {"count": 0},
        {"count": 1001},
        {"count": True},
        {"conditions": {"": "1"}},
        {"conditions": {"shop": ""}},
        {"conditions": {"shop": "\n"}},
        {"conditions": {"a b": "1"}},
        {"conditions": {"shop": "x" * 201}},
        {"conditions": {f"condition-{n}": "1" for n in range(11)}},
        {"conditions": [["shop", "1"]]},
    ],
    ids=str,
)
async def test_a_bad_request_is_refused_and_takes_no_number(
    admin_web: Web, body: dict[str, Any]
) -> None:
    response = await admin_web.client.post(f"{ORDERS}/next", json=body)

    assert response.status_code == 422
    assert (await admin_web.client.get(ORDERS)).status_code == 404


async def test_the_same_condition_twice_is_refused(admin_web: Web) -> None:
    params = {"condition": ["shop:1", "shop:2"]}

    response = await admin_web.client.get(ORDERS, params=params)

    assert response.status_code == 422


async def test_users_without_the_permission_take_no_numbers(web: Web) -> None:
    bearer = await web.bearer(await web.world.given(a_user()))

    response = await web.client.post(f"{ORDERS}/next", json={}, headers=bearer)

    assert response.status_code == 403


async def test_a_sequence_can_be_set_before_its_first_number(admin_web: Web) -> None:
    response = await admin_web.client.put(ORDERS, json={"value": 9}, headers={"If-Match": '"0"'})

    assert response.status_code == 200
    assert await taken(admin_web) == {"first": 10, "last": 10}
