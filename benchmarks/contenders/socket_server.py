"""A Socket.IO server with one event, for `benchmarks.socket_events`: `python -m … injected|by_hand|nothing|untouched`.

It answers lines: `port`, or its CPU time (user and system, in seconds) for any other.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import socketio
import uvicorn
import uvloop
from pydantic import BaseModel

from entrypoints.socketio.limits import Limits
from entrypoints.socketio.parameters import SID, Depends
from entrypoints.socketio.server import AsyncServer


class Message(BaseModel):
    """What clients send."""

    text: str
    room: str
    number: int


async def _user(sid: SID) -> str:
    return sid


async def _injected(message: Message, user: Annotated[str, Depends(_user)]) -> dict[str, Any]:
    return {"text": message.text, "user": user}


async def _by_hand(sid: str, data: dict[str, Any]) -> dict[str, Any]:
    message = Message.model_validate(data)
    return {"text": message.text, "user": await _user(sid)}


async def _nothing(sid: str, data: Any) -> dict[str, Any]:  # noqa: ANN401 - any other type has a plan
    return {"text": data["text"], "user": sid}


def _server(kind: str) -> socketio.AsyncServer:
    if kind in {"by_hand", "nothing"}:
        sio = socketio.AsyncServer(async_mode="asgi")
        sio.on("send", _by_hand if kind == "by_hand" else _nothing)
        return sio
    ours = AsyncServer(limits=Limits(rate=1e9, burst=10**9))
    handler: Callable[..., Any] = _injected if kind == "injected" else _nothing
    ours.on("send", handler)
    return ours


async def _serve(kind: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    app = socketio.ASGIApp(_server(kind))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    port = listening.getsockname()[1]
    while asked := await asyncio.to_thread(sys.stdin.readline):
        print(port if asked == "port\n" else time.process_time(), flush=True)  # noqa: T201 - the answer
    server.should_exit = True
    await serving


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
