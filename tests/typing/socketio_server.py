"""What mypy and basedpyright know about handlers of `AsyncServer`. Read by both, never run.

See `typed_celery.py` for what the comments mean.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, assert_type

from pydantic import BaseModel

from entrypoints.socketio.errors import Code, SocketError
from entrypoints.socketio.limits import Limits
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.namespace import AsyncNamespace
from entrypoints.socketio.parameters import (
    SID,
    Auth,
    Depends,
    Environ,
    Event,
    Namespace,
    Payload,
    Reason,
    inline,
)
from entrypoints.socketio.router import SocketRouter
from entrypoints.socketio.server import AsyncServer
from entrypoints.socketio.testing import SocketTestClient


class ChatMessage(BaseModel):
    text: str
    room: str


class User(BaseModel):
    name: str


class Receipt(BaseModel):
    number: int


async def get_current_user(sid: SID) -> User:
    return User(name=sid)


async def get_session() -> AsyncIterator[str]:
    yield "session"


@inline
def get_limit(value: Annotated[int, Payload(1)]) -> int:
    return value


sio = AsyncServer(limits=Limits(burst=10), dependencies=[Depends(get_session)], ordered=True)


@sio.on("chat.send")
async def handle_chat(
    message: ChatMessage, user: Annotated[User, Depends(get_current_user)]
) -> Receipt:
    await sio.emit("chat.receive", {"user": user.name, "text": message.text}, room=message.room)
    return Receipt(number=1)


@sio.on("chat.say", dependencies=[Depends(get_session)], ordered=False)
async def say(message: ChatMessage, user: User = Depends(get_current_user)) -> None: ...  # noqa: B008


@sio.event
async def connect(sid: SID, environ: Environ, auth: Auth) -> bool:
    await sio.enter_room(sid, "lobby")
    assert_type(sid, str)
    assert_type(environ, dict[str, Any])
    return "HTTP_ORIGIN" in environ


@sio.event(namespace="/chat")
async def disconnect(sid: SID, reason: Reason) -> None:
    assert_type(reason, str)
    assert_type(sio.rooms(sid), list[str])


@sio.on("*", namespace="*")
def anything(event: Event, namespace: Namespace, *values: int) -> list[str]:
    return [event, namespace]


@sio.exception_handler(PermissionError)
def denied(error: PermissionError) -> SocketError:
    return SocketError(Code.NOT_ALLOWED, str(error))


class Chat(AsyncNamespace):
    async def on_send(self, message: ChatMessage) -> Receipt:
        await self.emit("chat.receive", message)
        return Receipt(number=2)


sio.register_namespace(Chat("/other"))
sio.register_emit("chat.receive", ChatMessage)

router = SocketRouter(prefix="room.", dependencies=[Depends(get_current_user)])


@router.on("join")
async def join(room: str, limit: Annotated[int, Depends(get_limit)]) -> int:
    return limit


sio.include_router(router)


class Counted(Metrics):
    def connected(self, namespace: str) -> None: ...


async def use() -> None:
    async with SocketTestClient(sio, auth={"token": "t"}) as client:
        assert_type(client.sid, str)
        assert_type(await client.call("chat.send", {}), Any)
        await sio.disconnect(client.sid)
        await sio.save_session(client.sid, {"name": "Ada"})
        assert_type(await sio.get_session(client.sid), dict[str, Any])
        assert_type(await sio.call("question", to=client.sid, timeout=1), Any)


# --- functions stay what they are ---

_chat: Callable[[ChatMessage, User], Awaitable[Receipt]] = handle_chat
_join: Callable[[str, int], Awaitable[int]] = join
assert_type(get_limit(1), int)

# --- what does not fit is refused ---

sio.on(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
SocketError(1008, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
AsyncServer(limits=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
