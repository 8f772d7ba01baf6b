"""The messages of python-socketio's managers, written without importing it: that takes longer than a worker's start.

`tests/contract/test_event_emitter.py` holds them equal to those of python-socketio.
"""

import json
from collections.abc import Mapping

from domain.connections import ConnectionId

_NAMESPACE = "/"

# Managers ignore the messages of their own host. Nothing here is a host, so all listen.
_HOST = "portico"


def emit_message(event: str, data: Mapping[str, object], room: str | None) -> str:
    """Return the message that sends an event to a Socket.IO room, or to everybody."""
    return json.dumps(
        {
            "method": "emit",
            "event": event,
            "data": [data],
            "binary": False,
            "namespace": _NAMESPACE,
            "room": room,
            "skip_sid": None,
            "callback": None,
            "host_id": _HOST,
        }
    )


def leave_message(connection_id: ConnectionId, room: str | None) -> str:
    """Return the message that takes a connection out of a Socket.IO room."""
    return json.dumps(
        {
            "method": "leave_room",
            "sid": connection_id,
            "room": room,
            "namespace": _NAMESPACE,
            "host_id": _HOST,
        }
    )


def close_room_message(room: str | None) -> str:
    """Return the message that takes all connections out of a Socket.IO room."""
    return json.dumps(
        {
            "method": "close_room",
            "room": room,
            "namespace": _NAMESPACE,
            "host_id": _HOST,
        }
    )


def disconnect_message(connection_id: ConnectionId) -> str:
    """Return the message that ends a connection."""
    return json.dumps(
        {
            "method": "disconnect",
            "sid": connection_id,
            "namespace": _NAMESPACE,
            "host_id": _HOST,
        }
    )
