"""The AsyncAPI document says what the handlers do."""

from typing import Annotated, Any

from pydantic import BaseModel

from entrypoints.socketio.asyncapi import asyncapi
from entrypoints.socketio.parameters import SID, Depends, Environ
from entrypoints.socketio.server import AsyncServer


class ChatMessage(BaseModel):
    text: str
    room: str


class Receipt(BaseModel):
    number: int


async def get_user(sid: SID) -> str:
    return sid


def document() -> dict[str, Any]:
    sio = AsyncServer()

    @sio.event
    async def connect(environ: Environ) -> None: ...

    @sio.on("chat.send")
    async def send(message: ChatMessage, user: Annotated[str, Depends(get_user)]) -> Receipt:
        """Send a message to a room.

        Not in the summary.
        """
        return Receipt(number=1)

    @sio.on("move", namespace="/game")
    async def move(x: int, y: int = 0, *rest: int) -> None: ...

    sio.register_emit("chat.receive", ChatMessage)
    return asyncapi(sio, title="Chat", version="1.0")


def test_each_event_is_an_operation_with_its_payload_and_its_ack() -> None:
    found = document()

    operation = found["operations"]["receive_default_chat_send"]
    messages = found["channels"]["default"]["messages"]
    assert operation == {
        "action": "receive",
        "channel": {"$ref": "#/channels/default"},
        "summary": "Send a message to a room.",
        "messages": [{"$ref": "#/channels/default/messages/chat_send"}],
        "reply": {
            "channel": {"$ref": "#/channels/default"},
            "messages": [{"$ref": "#/channels/default/messages/chat_send_ack"}],
        },
    }
    assert messages["chat_send"] == {
        "name": "chat.send",
        "payload": {"$ref": "#/components/schemas/ChatMessage"},
    }
    assert messages["chat_send_ack"]["payload"]["anyOf"][0] == {
        "$ref": "#/components/schemas/Receipt"
    }
    assert {"ChatMessage", "Receipt", "Error"} <= found["components"]["schemas"].keys()


def test_several_arguments_are_an_array() -> None:
    found = document()

    payload = found["channels"]["game"]["messages"]["move"]["payload"]
    assert payload == {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "integer"}],
        "items": {"type": "integer"},
        "minItems": 1,
    }
    assert found["channels"]["game"]["address"] == "/game"


def test_emitted_events_are_described_and_errors_in_every_namespace() -> None:
    found = document()

    assert found["operations"]["send_default_chat_receive"]["action"] == "send"
    for channel in ("default", "game"):
        assert found["operations"][f"send_{channel}_error"]["messages"] == [
            {"$ref": f"#/channels/{channel}/messages/error"}
        ]


def test_a_handler_of_connect_is_no_event() -> None:
    found = document()

    assert not [name for name in found["operations"] if "connect" in name]


def test_an_event_of_both_sides_has_a_message_for_each() -> None:
    sio = AsyncServer()

    @sio.on("typing")
    async def typing(room: str) -> None: ...

    sio.register_emit("typing", Receipt)
    found = asyncapi(sio, title="Chat", version="1.0")

    messages = found["channels"]["default"]["messages"]
    assert messages["typing"]["payload"] == {"type": "string"}
    assert messages["typing_emitted"] == {
        "name": "typing",
        "payload": {"$ref": "#/components/schemas/Receipt"},
    }
    assert found["operations"]["send_default_typing_emitted"]["messages"] == [
        {"$ref": "#/channels/default/messages/typing_emitted"}
    ]
