"""Handlers in a module whose annotations are strings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel

from entrypoints.socketio.parameters import SID, Depends
from entrypoints.socketio.server import AsyncServer


class Message(BaseModel):
    text: str


async def is_somebody(sid: SID) -> bool:
    return bool(sid)


async def send(message: Message, known: Annotated[bool, Depends(is_somebody)]) -> Any:
    return [message.text, known]


def register(sio: AsyncServer) -> None:
    sio.on("send", send)
