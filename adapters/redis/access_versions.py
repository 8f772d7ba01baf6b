"""Versions of access in Redis.

- `auth:version`: hash, everything that decides whether cached access is still valid. `run` names the run of the
  server that wrote it (`run_id` of INFO), `nonce` is everyone's version and the field `<user_id>` one user's, `changes`
  has a line per change in progress. It is one key, so that it can only be lost as a whole, which is noticed: a server
  that was restarted, emptied, restored from a backup or replaced by its replica never revives a version, nor forgets
  a change in progress.

Outside of this is a server that was replaced without its knowledge and is still asked. An account of Redis with few
rights needs INFO besides reading, writing and scripts.
"""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import timedelta

from adapters.redis.client import RedisClient
from adapters.redis.scripts import Script
from adapters.redis.sessions import session_key
from application.ports.access_versions import (
    DIRTY_TTL,
    VERSION_TTL,
    AccessSnapshot,
    AccessVersions,
    Change,
)
from domain.errors import Unavailable
from domain.identity import UserId
from domain.sessions import SessionId

_VERSIONS = "auth:version"

_EVERYONE = "*"

_MILLISECOND = timedelta(milliseconds=1)

_Question = tuple[UserId, SessionId]


class RedisAccessVersions(AccessVersions):
    """Scripts to write; to read, plain commands in a pipeline that concurrent callers share.

    One pipeline runs at a time; calls that arrive meanwhile go into the next one. If it fails, the calls that wait
    for the next one fail too: their time is running as well.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        dirty_ttl: timedelta = DIRTY_TTL,
        version_ttl: timedelta = VERSION_TTL,
    ) -> None:
        self._client = client
        self._dirty_ttl = dirty_ttl // _MILLISECOND
        self._version_ttl = version_ttl // _MILLISECOND
        self._take_over = Script(client, "versions", "take_over")
        self._mark_dirty = Script(client, "versions", "mark_dirty")
        self._clear_dirty = Script(client, "versions", "clear_dirty")
        self._asked: list[tuple[_Question, asyncio.Future[AccessSnapshot]]] = []
        self._answering: asyncio.Task[None] | None = None

    async def fetch(self, user_id: UserId, session_id: SessionId) -> AccessSnapshot:
        answer: asyncio.Future[AccessSnapshot] = asyncio.get_running_loop().create_future()
        self._asked.append(((user_id, session_id), answer))
        if self._answering is None:
            # It starts after the tasks that are ready now, and collects all their calls.
            self._answering = asyncio.create_task(self._answer())
        return await answer

    async def mark_dirty(self, change: Change) -> None:
        await self._mark_dirty([_VERSIONS], *self._operands(change))

    async def clear_dirty(self, change: Change) -> None:
        await self._clear_dirty([_VERSIONS], *self._operands(change))

    async def _answer(self) -> None:
        sent: list[tuple[_Question, asyncio.Future[AccessSnapshot]]] = []
        try:
            while self._asked:
                sent, self._asked = self._asked, []
                snapshots = await self._snapshots([question for question, _ in sent])
                for (_, answer), snapshot in zip(sent, snapshots, strict=True):
                    if not answer.done():  # the caller may have gone
                        answer.set_result(snapshot)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where it was asked for
            for _, answer in sent + self._asked:
                if not answer.done():
                    answer.set_exception(error)
        finally:
            for _, answer in sent + self._asked:
                answer.cancel()  # no answer yet: the event loop is closing
            self._asked = []
            self._answering = None

    async def _snapshots(self, questions: Sequence[_Question]) -> list[AccessSnapshot]:
        users = {user_id: str(user_id) for user_id, _ in questions}
        sessions = {question: session_key(*question) for question in questions}
        # TIME comes first, so that no mark expires between it and the reads.
        (seconds, microseconds), server, stored, *runs = await self._client.execute_commands(
            [
                ("TIME",),
                ("INFO", "server"),
                ("HMGET", _VERSIONS, "run", "nonce", "changes", *users.values()),
                *(("HGET", key, "run") for key in sessions.values()),
            ]
        )
        run, everyones, changes, *nonces = stored
        now = int(seconds) * 1000 + int(microseconds) // 1000
        if f"run_id:{run}\r\n" in server:
            changing = _changing(changes, now)
        else:
            run = await self._record_loss(server)
            changing = {_EVERYONE}
        nonce_of = dict(zip(users, nonces, strict=True))
        # A session of another run is over: `sessions.lua` says why.
        run_of = dict(zip(sessions, runs, strict=True))
        return [
            AccessSnapshot(
                session_alive=run_of[user_id, session_id] == run,
                version=f"{everyones} {nonce_of[user_id]} {self._period(user_id, now)}",
                stable=_EVERYONE not in changing and users[user_id] not in changing,
            )
            for user_id, session_id in questions
        ]

    async def _record_loss(self, server: str) -> str:
        (run,) = await self._take_over([_VERSIONS], *self._operands())
        if f"run_id:{run}\r\n" not in server:
            # A replica answered, so its sessions may be out of date.
            raise Unavailable("Redis")
        return str(run)

    def _period(self, user_id: UserId, now: int) -> int:
        # Each user's period starts at another moment, so that they do not all expire at once.
        return (now + user_id.int % self._version_ttl) // self._version_ttl

    def _operands(self, *changes: Change) -> list[str | int]:
        operands = [part for change in changes for part in (str(change.id), _users(change))]
        return [secrets.token_urlsafe(12), self._dirty_ttl, *operands]


def _users(change: Change) -> str:
    return _EVERYONE if change.everyone else ",".join(map(str, change.user_ids))


def _changing(changes: str, now: int) -> set[str]:
    """Return the users with a dirty mark that has not expired, as the scripts write them."""
    changing = set[str]()
    for line in changes.splitlines():
        ends_at, _, users = line.split(" ")
        if int(ends_at) > now:
            changing.update(users.split(","))
    return changing
