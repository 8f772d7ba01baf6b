"""The AsyncAPI document of the product's events."""

from importlib.metadata import version
from typing import Any

from entrypoints.realtime.security import guarded_events
from entrypoints.socketio.asyncapi import asyncapi
from entrypoints.socketio.server import AsyncServer

_DESCRIPTION = """\
Socket.IO at `/socket.io/`, over WebSocket alone. Connect with `auth: {token}`, an access token of the HTTP API. Every
event has an ack; one that fails is also answered with an `error` event.
"""


def document(sio: AsyncServer) -> dict[str, Any]:
    """Return what clients may send, what comes back, and what the server sends; with the permission of each event."""
    found = asyncapi(sio, title="Portico", version=version("portico"), description=_DESCRIPTION)
    permissions = {route.path: route.code.value for route in guarded_events(sio)}
    for operation in found["operations"].values():
        if operation["action"] == "receive":
            *_, channel, _, message = operation["messages"][0]["$ref"].split("/")
            described = found["channels"][channel]
            name, namespace = described["messages"][message]["name"], described["address"]
            path = name if namespace == "/" else f"{namespace}/{name}"
            if path in permissions:
                operation["x-permission"] = permissions[path]
    return found
