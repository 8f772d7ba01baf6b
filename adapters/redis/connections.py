"""The registry of connections in Redis.

Keys, all in one slot of a Redis Cluster, with `realtime:{connections}:` before each:

- `details`: hash, each connection as JSON; `ids`: sorted set of them, and `user:<user_id>`: of those of a user
- `process:<process>`: set of the connections of a process; `leases`: sorted set of processes by the end of their lease
- `joined:<sid>`: set of the rooms of a connection
- `counts:<room_id>`: hash, the number of a user's connections in a room; `people:<room_id>`: hash, their names

Nothing has a time to live: whichever process renews its lease next cleans up after those that are dead.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from adapters.redis.client import RedisServers
from adapters.redis.scripts import Script, microseconds
from application.ports.connections import ConnectionRegistry
from domain.connections import (
    Connection,
    ConnectionId,
    ConnectionNotFound,
    PresenceChange,
    PresenceState,
    ProcessId,
    TooManyConnections,
    TooManyJoined,
)
from domain.identity import UserId
from domain.rooms import Person, RoomId
from domain.sessions import SessionId

_CONNECTIONS = "realtime:{connections}"

_CLOSED_AT_ONCE = 200


class RedisConnectionRegistry(ConnectionRegistry):
    """One script per decision; each is one round trip."""

    def __init__(self, client: RedisServers) -> None:
        self._client = client
        self._open = Script(client, "time", "connections", "connections_open")
        self._close = Script(client, "connections", "connections_close")
        self._join = Script(client, "connections", "connections_join")
        self._leave = Script(client, "connections", "connections_leave")
        self._close_room = Script(client, "connections", "connections_close_room")
        self._in_room = Script(client, "connections", "connections_in_room")
        self._renew = Script(client, "time", "connections", "connections_renew")

    async def open(self, connection: Connection, *, most: int, lease: timedelta) -> None:
        (opened,) = await self._open(
            [_CONNECTIONS],
            connection.id,
            str(connection.user.id),
            connection.process,
            _to_json(connection),
            most,
            microseconds(lease),
        )
        if not opened:
            raise TooManyConnections(most)

    async def close(self, connection_id: ConnectionId) -> Sequence[PresenceChange]:
        return _departures(await self._close([_CONNECTIONS], connection_id))

    async def join(
        self, connection_id: ConnectionId, room_id: RoomId, *, most: int
    ) -> PresenceChange | None:
        outcome, *user = await self._join([_CONNECTIONS], connection_id, str(room_id), most)
        match outcome:
            case "unknown":
                raise ConnectionNotFound(connection_id)
            case "full":
                raise TooManyJoined(most)
            case "joined":
                return PresenceChange(room_id, _to_person(*user), PresenceState.JOINED)
            case _:
                return None

    async def leave(self, connection_id: ConnectionId, room_id: RoomId) -> PresenceChange | None:
        left = _departures(await self._leave([_CONNECTIONS], connection_id, str(room_id)))
        return left[0] if left else None

    async def close_room(self, room_id: RoomId) -> None:
        left = 1
        while left:
            (left,) = await self._close_room([_CONNECTIONS], str(room_id), _CLOSED_AT_ONCE)

    async def is_in(self, connection_id: ConnectionId, room_id: RoomId) -> bool:
        key = f"{_CONNECTIONS}:joined:{connection_id}"
        return bool(await self._client.execute("SISMEMBER", key, str(room_id)))

    async def present(self, room_id: RoomId) -> Sequence[Person]:
        flat = cast("list[str]", await self._client.execute("HGETALL", _people(room_id)))
        people = (_to_person(*user) for user in zip(flat[::2], flat[1::2], strict=True))
        return sorted(people, key=lambda person: person.id)

    async def find(self, connection_id: ConnectionId) -> Connection | None:
        found = await self._find([connection_id])
        return found[0] if found else None

    async def all(
        self, *, user_id: UserId | None = None, after: ConnectionId | None = None, limit: int
    ) -> Sequence[Connection]:
        ids = await self._client.execute(
            "ZRANGE",
            f"{_CONNECTIONS}:ids" if user_id is None else f"{_CONNECTIONS}:user:{user_id}",
            "-" if after is None else f"({after}",
            "+",
            *("BYLEX", "LIMIT", 0, limit),
        )
        return await self._find(cast("list[ConnectionId]", ids))

    async def in_room(self, room_id: RoomId, user_id: UserId) -> Collection[ConnectionId]:
        return await self._in_room([_CONNECTIONS], str(room_id), str(user_id))

    async def renew(self, process: ProcessId, *, lease: timedelta) -> Sequence[PresenceChange]:
        return _departures(
            await self._renew([_CONNECTIONS], process, microseconds(lease), _CLOSED_AT_ONCE)
        )

    async def end(self, process: ProcessId) -> Sequence[PresenceChange]:
        changes: list[PresenceChange] = []
        while await self._client.execute("SCARD", f"{_CONNECTIONS}:process:{process}"):
            changes += _departures(await self._renew([_CONNECTIONS], process, 0, _CLOSED_AT_ONCE))
        await self._client.execute("ZREM", f"{_CONNECTIONS}:leases", process)
        return changes

    async def _find(self, ids: Sequence[ConnectionId]) -> Sequence[Connection]:
        if not ids:
            return []
        found = await self._client.execute("HMGET", f"{_CONNECTIONS}:details", *ids)
        return [_to_connection(stored) for stored in cast("list[str | None]", found) if stored]


def _people(room_id: RoomId) -> str:
    return f"{_CONNECTIONS}:people:{room_id}"


def _to_json(connection: Connection) -> str:
    return json.dumps(
        {
            "id": connection.id,
            "user": {"id": str(connection.user.id), "name": connection.user.name},
            "session": str(connection.session_id),
            "process": connection.process,
            "address": connection.address,
            "agent": connection.agent,
            "since": connection.since.isoformat(),
        }
    )


def _to_connection(stored: str) -> Connection:
    fields: dict[str, Any] = json.loads(stored)
    return Connection(
        id=ConnectionId(fields["id"]),
        user=_to_person(fields["user"]["id"], fields["user"]["name"]),
        session_id=SessionId(UUID(fields["session"])),
        process=ProcessId(fields["process"]),
        address=fields["address"],
        agent=fields["agent"],
        since=datetime.fromisoformat(fields["since"]),
    )


def _to_person(user_id: str, name: str) -> Person:
    return Person(id=UserId(UUID(user_id)), name=name)


def _departures(left: Sequence[Sequence[str]]) -> Sequence[PresenceChange]:
    return [
        PresenceChange(RoomId(UUID(room)), _to_person(user, name), PresenceState.LEFT)
        for room, user, name in left
    ]
