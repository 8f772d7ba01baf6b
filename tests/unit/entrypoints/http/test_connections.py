"""The routes of open connections."""

from datetime import timedelta
from typing import Any

from domain.connections import ConnectionId
from domain.identity import User
from domain.rooms import Person
from tests.support.builders import a_connection, a_user
from tests.support.web import Web

CONNECTIONS = "/api/v1/realtime/connections"


async def given_connections(web: Web, user: User, count: int) -> list[str]:
    registry = web.world.container.connection_registry()
    person = Person(id=user.id, name=user.name.value)
    ids = []
    for _ in range(count):
        connection = a_connection(person)
        await registry.open(connection, most=100, lease=timedelta(seconds=15))
        ids.append(connection.id)
    return sorted(ids)


async def listed(web: Web, **query: Any) -> Any:
    response = await web.client.get(CONNECTIONS, params=query)
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    return [record["sid"] for record in data["records"]], data["nextCursor"]


async def test_connections_of_all_users_are_listed_in_parts(admin_web: Web) -> None:
    ada, grace = [await admin_web.world.given(a_user()) for _ in range(2)]
    hers = await given_connections(admin_web, ada, 3)
    ids = sorted([*hers, *await given_connections(admin_web, grace, 2)])

    assert await listed(admin_web) == (ids, None)
    assert await listed(admin_web, user=str(ada.id)) == (hers, None)
    assert await listed(admin_web, pageSize=2) == (ids[:2], ids[1])
    assert await listed(admin_web, pageSize=2, cursor=ids[1]) == (ids[2:4], ids[3])
    assert await listed(admin_web, pageSize=2, cursor=ids[3]) == (ids[4:], None)


async def test_a_connection_is_shown_with_its_user_and_client(admin_web: Web) -> None:
    ada = await admin_web.world.given(a_user())
    (sid,) = await given_connections(admin_web, ada, 1)

    (record,) = (await admin_web.client.get(CONNECTIONS)).json()["data"]["records"]

    assert record.pop("sessionId")
    assert record.pop("since").endswith("Z")
    assert record == {
        "sid": sid,
        "userId": str(ada.id),
        "userName": ada.name.value,
        "process": "a process",
        "address": "192.0.2.1",
        "agent": "a browser",
    }


async def test_an_ended_connection_is_announced_to_all_processes_and_audited(
    admin_web: Web,
) -> None:
    ada = await admin_web.world.given(a_user())
    (sid,) = await given_connections(admin_web, ada, 1)
    heard = admin_web.world.container.event_emitter().subscribe()

    response = await admin_web.client.delete(f"{CONNECTIONS}/{sid}")

    assert response.status_code == 200
    assert ConnectionId(sid) in await heard.get()
    entry = admin_web.world.audit_entries()[-1]
    assert (entry.action, entry.target) == ("connections.ended", f"user:{ada.id}")


async def test_a_connection_that_does_not_exist_is_not_found(admin_web: Web) -> None:
    response = await admin_web.client.delete(f"{CONNECTIONS}/{'x' * 20}")

    assert response.status_code == 404
    assert response.json()["error"] == "connections.not_found"


async def test_a_malformed_sid_is_refused(admin_web: Web) -> None:
    for sid in ("%00", "%25", "x", "x" * 21, "x" * 10_000):
        response = await admin_web.client.delete(f"{CONNECTIONS}/{sid}")

        assert response.status_code == 422, sid
