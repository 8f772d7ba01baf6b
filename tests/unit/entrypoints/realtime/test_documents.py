"""The AsyncAPI document of the events: for whom it is served, and the file that `portico asyncapi` writes."""

import json
from pathlib import Path

import httpx
import pytest

from application.settings import Environment, Settings, Stores
from entrypoints.api import create_api
from entrypoints.cli.documents import write_asyncapi
from entrypoints.realtime.documents import document
from entrypoints.realtime.security import AuthenticatedConnection, GuardedEvent, guarded_events
from entrypoints.realtime.server import described_server
from entrypoints.socketio.router import SocketRouter
from tests.support.realtime import fake
from tests.support.world import World


def test_every_event_is_described_with_its_permission() -> None:
    sio = described_server()
    found = document(sio)

    messages = found["channels"]["default"]["messages"]
    operations = found["operations"].values()
    received = {
        messages[each["messages"][0]["$ref"].rpartition("/")[2]]["name"]: each.get("x-permission")
        for each in operations
        if each["action"] == "receive"
    }
    assert received == {
        "auth.refresh": None,
        "chat.history": "EVENT:chat.history",
        "chat.send": "EVENT:chat.send",
        "chat.typing": "EVENT:chat.typing",
        "room.join": "EVENT:room.join",
        "room.leave": None,
    }
    assert {route.code.value for route in guarded_events(sio)} == {*received.values()} - {None}
    assert {each["summary"] for each in operations if each["action"] == "receive"}.isdisjoint(
        received
    )
    sent = {
        name.removesuffix("_emitted")
        for name in messages
        if f"send_default_{name}" in found["operations"]
    }
    assert sent == {
        *("chat_receive", "chat_typing", "presence", "room_deleted", "notification", "error")
    }


def test_the_document_is_written_to_a_file(tmp_path: Path) -> None:
    write_asyncapi(tmp_path / "asyncapi.json")

    assert json.loads((tmp_path / "asyncapi.json").read_text()) == document(described_server())


@pytest.mark.parametrize(
    ("environment", "status"), [(Environment.TESTING, 200), (Environment.PRODUCTION, 404)]
)
async def test_it_is_served_with_a_page_in_debug_environments_alone(
    environment: Environment, status: int
) -> None:
    world = World(Settings(environment=environment, stores=Stores.MEMORY))
    api = create_api(container=world.container, socket_routers=[fake])
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://portico.test") as client:
        for path in (
            "asyncapi.json",
            "asyncapi",
            "docs/assets/asyncapi.js",
            "docs/assets/asyncapi.css",
        ):
            response = await client.get(f"/{path}")
            assert response.status_code == status
        if status == 200:
            page = (await client.get("/asyncapi")).text
            assert "docs/assets/asyncapi.js" in page
            assert "://" not in page
            served = (await client.get("/asyncapi.json")).json()
            assert served == document(api.realtime.sio)
            assert "fake.public" in json.dumps(served)
    world.end()


def test_events_of_other_namespaces_have_their_permission_too() -> None:
    router = SocketRouter(namespace="/other")

    @router.on("connect", dependencies=[AuthenticatedConnection])
    async def connect() -> None: ...

    @router.on("new", dependencies=[GuardedEvent])
    async def new() -> int:
        return 1

    operations = document(described_server(routers=[router]))["operations"]
    assert operations["receive_other_new"]["x-permission"] == "EVENT:/other/new"
