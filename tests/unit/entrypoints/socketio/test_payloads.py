"""What clients send, and what handlers return."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, ValidationError

from entrypoints.socketio.parameters import SID, Auth, Depends, Payload
from entrypoints.socketio.server import AsyncServer
from entrypoints.socketio.testing import ConnectionRefused, SocketTestClient


class ChatMessage(BaseModel):
    text: str
    room: str


class Receipt(BaseModel):
    at: datetime
    message_id: UUID = Field(serialization_alias="messageId")


RECEIPT = Receipt(at=datetime(2026, 11, 29, tzinfo=UTC), message_id=UUID(int=7))
RECEIPT_JSON = {"at": "2026-11-29T00:00:00Z", "messageId": "00000000-0000-0000-0000-000000000007"}


@pytest.fixture
def sio() -> AsyncServer:
    return AsyncServer()


@pytest.fixture
async def client(sio: AsyncServer) -> AsyncIterator[SocketTestClient]:
    async with SocketTestClient(sio) as client:
        yield client


def data_of(ack: Any) -> str:
    assert ack["error"]["code"] == 1007
    return str(ack["error"]["data"])


async def test_a_wrong_payload_is_exactly_the_documented_error(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.on("chat.send")
    async def handle(message: ChatMessage) -> None: ...

    ack = await client.call("chat.send", {"room": "lobby"})

    error = {
        "code": 1007,
        "event": "chat.send",
        "message": "Data Validation Error.",
        "data": "text field required",
    }
    assert ack == {"error": error}
    assert await client.receive("error") == error


@pytest.mark.parametrize(
    ("annotation", "right", "wrong", "fault"),
    [
        (ChatMessage, {"text": "a", "room": "b"}, "x", "value input should be a valid dictionary"),
        (list[ChatMessage], [], [{"text": "a"}], "0.room field required"),
        (ChatMessage | None, None, 3, "value input should be a valid dictionary"),
        (int, 3, "three", "value input should be a valid integer"),
        (Annotated[int, Field(ge=1)], 1, 0, "value input should be greater than or equal to 1"),
        (dict[str, int], {"a": 1}, {"a": "x"}, "a input should be a valid integer"),
        (int | str, "x", [], "int input should be a valid integer"),
        (str, "x", 3, "value input should be a valid string"),
        (str, "x", b"x", "value should not be binary"),
        (ChatMessage, {"text": "a", "room": "b"}, {"text": b"a", "room": "b"}, "not be binary"),
        (bytes, b"\x00\xff", "x", "value input should be a valid bytes"),
        (bytes | None, b"x", "x", "bytes"),
    ],
)
async def test_a_payload_may_be_any_type_that_pydantic_validates(  # noqa: PLR0917
    sio: AsyncServer,
    client: SocketTestClient,
    annotation: Any,
    right: Any,
    wrong: Any,
    fault: str,
) -> None:
    async def handle(value):  # type: ignore[no-untyped-def]
        return True

    handle.__annotations__["value"] = annotation
    sio.on("send", handle)

    assert await client.call("send", right) is True
    assert fault in data_of(await client.call("send", wrong))


async def test_several_arguments_defaults_and_the_rest(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.event
    async def move(x: int, y: int = 5, *rest: int) -> Any:
        return [x, y, list(rest)]

    assert await client.call("move", 1) == [1, 5, []]
    assert await client.call("move", 1, 2, 3, 4) == [1, 2, [3, 4]]
    assert data_of(await client.call("move")) == "x field required"
    assert data_of(await client.call("move", 1, "a")).startswith("y input should be a valid int")
    assert data_of(await client.call("move", 1, 2, "a")).startswith("rest input should be")


async def test_further_arguments_are_ignored(sio: AsyncServer, client: SocketTestClient) -> None:
    @sio.event
    async def move(x: int) -> int:
        return x

    assert await client.call("move", 1, 2, 3) == 1


async def test_no_payload_is_an_error_of_the_payload(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.on("send")
    async def handle(message: ChatMessage, times: int) -> None: ...

    assert data_of(await client.call("send")) == "message field required"
    assert data_of(await client.call("send", {"room": "a"}, 1)) == "message.text field required"


async def test_a_payload_with_very_many_faults_is_described_briefly(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.event
    async def numbers(numbers: list[int]) -> None: ...

    assert data_of(await client.call("numbers", ["x"] * 1000)) == "numbers has 1000 errors"

    @sio.event
    async def named(numbers: dict[str, int]) -> None: ...

    assert len(data_of(await client.call("named", {"x" * 10_000: "x"}))) == 2000


async def test_a_validation_error_of_our_own_is_not_blamed_on_the_client(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    async def row() -> ChatMessage:
        return ChatMessage.model_validate({"text": "no room"})

    @sio.event
    async def in_dependency(row: Annotated[ChatMessage, Depends(row)]) -> None: ...

    @sio.event
    async def in_handler(number: int) -> None:
        await row()

    @sio.event
    async def of_type(number: int) -> None:
        len(None)  # type: ignore[arg-type]

    for event in ("in_dependency", "in_handler", "of_type"):
        error = (await client.call(event, 1))["error"]
        assert error["code"] == 1011
        assert "room" not in str(error)


async def test_a_sid_in_the_payload_needs_a_mark(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.event
    async def kick(me: SID, sid: Annotated[str, Payload()], why: str) -> Any:
        return [me == client.sid, sid, why]

    assert await client.call("kick", "somebody", "spam") == [True, "somebody", "spam"]


async def test_a_plain_sid_may_stand_beside_the_payload(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.event
    async def say(sid: str, message: ChatMessage) -> Any:
        return [sid == client.sid, message.text]

    assert await client.call("say", {"text": "hi", "room": "r"}) == [True, "hi"]


async def test_the_auth_payload_of_a_client_is_validated(sio: AsyncServer) -> None:
    class LogIn(BaseModel):
        token: str

    seen: list[Any] = []

    @sio.event
    async def connect(auth: LogIn, raw: Auth) -> None:
        seen.append((auth.token, raw))

    async with SocketTestClient(sio, auth={"token": "t"}):
        assert seen == [("t", {"token": "t"})]
    with pytest.raises(ConnectionRefused) as refused:
        async with SocketTestClient(sio, auth={"nope": 1}):
            pass

    assert refused.value.data["data"]["code"] == 1007
    assert refused.value.data["data"]["data"] == "token field required"


# --- results ------------------------------------------------------------------------------------


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("result", "ack"),
    [
        (None, None),
        (RECEIPT, RECEIPT_JSON),
        ([RECEIPT], [RECEIPT_JSON]),
        ((RECEIPT, 2), (RECEIPT_JSON, 2)),
        ({"receipt": RECEIPT, 1: {RECEIPT.message_id: Point(1)}}, None),
        (b"\x00\xff", b"\x00\xff"),
        ({"raw": [b"\xff"]}, {"raw": [b"\xff"]}),
    ],
)
async def test_results_are_serialised_and_acknowledged(
    sio: AsyncServer, client: SocketTestClient, result: Any, ack: Any
) -> None:
    @sio.event
    async def planned(number: int) -> Any:
        return result

    @sio.event
    async def plain(sid, number):  # type: ignore[no-untyped-def]
        return result

    if isinstance(result, dict) and 1 in result:
        ack = {"receipt": RECEIPT_JSON, "1": {str(RECEIPT.message_id): {"x": 1}}}
    assert await client.call("planned", 1) == ack
    assert await client.call("plain", 1) == ack


async def test_emitted_values_are_serialised(sio: AsyncServer, client: SocketTestClient) -> None:
    await sio.emit("receipt", RECEIPT, to=client.sid)
    await sio.emit("receipt", (RECEIPT, [RECEIPT]), to=client.sid)

    assert await client.receive("receipt") == RECEIPT_JSON
    assert await client.receive("receipt") == (RECEIPT_JSON, [RECEIPT_JSON])


async def test_numbers_that_json_does_not_know_are_no_results(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.event
    async def number(number: int) -> float:
        return float("nan")

    assert (await client.call("number", 1))["error"]["code"] == 1011


async def test_an_ack_of_the_client_is_awaited(sio: AsyncServer, client: SocketTestClient) -> None:
    client.answers["question"] = 42

    assert await sio.call("question", to=client.sid) == 42


def test_a_validation_error_is_the_only_thing_that_pydantic_raises_for_a_payload() -> None:
    with pytest.raises(ValidationError):
        ChatMessage.model_validate("x")
