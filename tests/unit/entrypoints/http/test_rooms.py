"""The routes of rooms."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.identity import User
from domain.rooms import Person, RoomId
from tests.support.builders import a_connection, a_user
from tests.support.web import Web

ROOMS = "/api/v1/rooms"


@pytest.fixture
async def ada(web: Web) -> User:
    """Return the user who sends the requests."""
    ada = await web.world.given(a_user(is_admin=True))
    web.client.headers.update(await web.bearer(ada))
    return ada


@pytest.fixture
async def bob(web: Web) -> User:
    return await web.world.given(a_user())


async def answer(web: Web, method: str, path: str, status: int = 200, **options: Any) -> Any:
    """Return the data of the answer, or the code of the error."""
    response = await web.client.request(method, path, **options)
    assert response.status_code == status, response.text
    body = response.json()
    return body["data"] if response.is_success else body["error"]


async def given_room(web: Web, name: str = "Tea", kind: str = "open") -> str:
    """Return the path of a new room."""
    room = await answer(web, "POST", ROOMS, 201, json={"name": name, "kind": kind})
    return f"{ROOMS}/{room['id']}"


def id_of(room: str) -> RoomId:
    return RoomId(UUID(room.rpartition("/")[2]))


async def given_messages(web: Web, room: str, author: User, count: int) -> None:
    caller, _ = await web.world.log_in_as(author)
    for number in range(1, count + 1):
        await web.world.container.send_message()(caller, id_of(room), f"No. {number}")


def person(user: User) -> dict[str, str]:
    return {"id": str(user.id), "name": user.name.value}


async def test_a_created_room_is_shown_to_its_owner(web: Web, ada: User) -> None:
    created_at = web.world.clock.now().isoformat().replace("+00:00", "Z")

    response = await web.client.post(ROOMS, json={"name": "Tea", "kind": "private"})

    assert response.status_code == 201
    room = response.json()["data"]
    assert response.headers["location"].endswith(f"{ROOMS}/{room['id']}")
    assert room == {
        "id": room["id"],
        "name": "Tea",
        "kind": "private",
        "owner": str(ada.id),
        "createdAt": created_at,
    }
    assert await answer(web, "GET", f"{ROOMS}/{room['id']}") == room


async def test_the_rooms_that_the_caller_may_enter_are_listed(web: Web, ada: User) -> None:
    tea, coffee = await given_room(web, "Tea", "private"), await given_room(web, "Coffee")
    shown = [await answer(web, "GET", room) for room in (coffee, tea)]

    assert (await answer(web, "GET", ROOMS))["records"] == shown
    reverse = await answer(web, "GET", ROOMS, params={"sort": "-name", "pageSize": 1})
    assert reverse["records"] == shown[1:]
    grace = await web.world.given(a_user(is_admin=True))
    others = await answer(web, "GET", ROOMS, headers=await web.bearer(grace))
    assert others["records"] == shown[:1]


async def test_members_come_and_go(web: Web, ada: User, bob: User) -> None:
    room = await given_room(web, kind="private")

    assert await answer(web, "PUT", f"{room}/members/{bob.id}") is None
    records = (await answer(web, "GET", f"{room}/members"))["records"]
    assert records == sorted([person(ada), person(bob)], key=lambda member: member["name"])
    assert await answer(web, "DELETE", f"{room}/members/{bob.id}") is None
    assert (await answer(web, "GET", f"{room}/members"))["records"] == [person(ada)]


async def test_a_user_is_present_with_a_connection_that_joined(
    web: Web, ada: User, bob: User
) -> None:
    room, other = await given_room(web), await given_room(web)
    registry = web.world.container.connection_registry()
    connection = a_connection(Person(id=bob.id, name=bob.name.value))
    await registry.open(connection, most=1, lease=timedelta(seconds=15))
    await registry.join(connection.id, id_of(room), most=1)

    assert await answer(web, "GET", f"{room}/presence") == [person(bob)]
    assert await answer(web, "GET", f"{other}/presence") == []


async def test_a_deleted_room_is_gone(web: Web, ada: User) -> None:
    room, other = await given_room(web), await given_room(web)

    assert await answer(web, "DELETE", room) is None

    assert await answer(web, "GET", room, 404) == "rooms.not_found"
    records = (await answer(web, "GET", ROOMS))["records"]
    assert [record["id"] for record in records] == [str(id_of(other))]


async def test_a_message_is_shown_with_its_author(web: Web, ada: User) -> None:
    room = await given_room(web)
    await given_messages(web, room, ada, 1)

    data = await answer(web, "GET", f"{room}/messages")

    (message,) = data["messages"]
    assert UUID(message.pop("id")).version == 7
    assert message.pop("at").endswith("Z")
    assert message == {"room": str(id_of(room)), "seq": 1, "user": person(ada), "text": "No. 1"}
    assert data["more"] is False


@pytest.mark.parametrize(
    ("query", "numbers", "more"),
    [
        ({"limit": 2}, [4, 5], True),
        ({}, [1, 2, 3, 4, 5], False),
        ({"after": 1, "limit": 2}, [2, 3], True),
        ({"after": 3, "limit": 2}, [4, 5], False),
        ({"after": 0, "limit": 1}, [1], True),
        ({"before": 4, "limit": 2}, [2, 3], True),
        ({"before": 3, "limit": 2}, [1, 2], False),
    ],
)
async def test_messages_are_read_in_both_directions(
    web: Web, ada: User, query: dict[str, int], numbers: list[int], *, more: bool
) -> None:
    room = await given_room(web)
    await given_messages(web, room, ada, 5)

    data = await answer(web, "GET", f"{room}/messages", params=query)

    assert ([message["seq"] for message in data["messages"]], data["more"]) == (numbers, more)
