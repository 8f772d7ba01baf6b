"""Clients that use everything at once, and what they were answered."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import socketio

from tests.e2e.fleet import ADMINISTRATOR, PASSWORD, log_in, sealed

CLIENTS = 16
REQUESTS_PER_SECOND = 50.0
REFUSED: Mapping[str, frozenset[int]] = {
    "revoked": frozenset({401}),
    "demoted": frozenset({401, 403}),
}
"""Actions of those who may not do them any more, and what they get."""
_EXPECTED = frozenset({200, 201, 401, 409})
NEEDS: Mapping[str, frozenset[str]] = {
    "info": frozenset({"postgres", "redis"}),
    "page": frozenset({"postgres", "redis"}),
    "login": frozenset({"postgres", "redis"}),
    "refresh": frozenset({"postgres", "redis"}),
    "change": frozenset({"postgres", "redis"}),
    "give": frozenset({"postgres", "redis"}),
    "logout": frozenset({"postgres", "redis"}),
    "audit": frozenset({"postgres", "redis", "mongo"}),
    "url": frozenset({"postgres", "redis"}),
    "begin": frozenset({"postgres", "redis", "s3"}),
    "complete": frozenset({"postgres", "redis", "s3"}),
    "task": frozenset({"postgres", "redis"}),
    "message": frozenset({"postgres", "redis", "mongo"}),
    "revoked": frozenset({"postgres", "redis"}),
    "demoted": frozenset({"postgres", "redis"}),
}
"""The servers without which an action may be answered 503."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got: a status of HTTP, 0 for none at all."""

    action: str
    status: int
    at: float
    """When it came, by `time.monotonic`."""
    seconds: float
    error: str = ""
    """The code of the error."""

    @property
    def is_expected(self) -> bool:
        """Whether it may be, if a server is away."""
        return self.status == 503 or self.status in REFUSED.get(self.action, _EXPECTED)


@dataclass(slots=True)
class Load:
    """`CLIENTS` clients of one API, with a session each."""

    api: str
    answers: list[Answer] = field(default_factory=list)
    roles: set[str] = field(default_factory=set)
    """Codes of the roles that were certainly created."""
    runs: set[str] = field(default_factory=set)
    """Ids of the runs that were certainly asked for."""
    messages: dict[str, int] = field(default_factory=dict)
    """The numbers of the messages that were acknowledged, by their ids."""
    task: str = ""
    file: str = ""
    room: str = ""
    admin: dict[str, str] = field(default_factory=dict)
    _revoked: list[Mapping[str, str]] = field(default_factory=list)
    """The tokens of a disabled user, and of sessions whose end was acknowledged."""
    _demoted: str = ""
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _working: list[asyncio.Task[None]] = field(default_factory=list)

    async def prepare(self, note_to: str) -> None:
        """Create what the clients work on; `note_to` is the file that the task adds a line to."""
        async with self._http() as http:
            self.admin = await log_in(http, ADMINISTRATOR)
            http.headers.update(self.admin)

            async def post(path: str, **body: Any) -> Any:
                response = await http.post(f"/api/v1{path}", json=body)
                assert response.status_code == 201, response.text
                return response.json()["data"]

            self.room = (await post("/rooms", name="Faults"))["id"]
            definition = {
                "name": "note",
                "task": "test.note",
                "kwargs": {"file": note_to},
                "kind": "interval",
                "schedule": {"every": 15, "period": "seconds"},
            }
            self.task = (await post("/periodic-tasks", **definition))["id"]
            self.runs.add((await post(f"/periodic-tasks/{self.task}/run"))["id"])
            self.file = await self._upload(http)
            body = {"username": "revoked", "email": "r@example.org", "name": "Re Voked"}
            user = await post("/users", **body, password=sealed(PASSWORD))
            self._revoked.append(await self.tokens(http, "revoked"))
            disabled = await http.patch(f"/api/v1/users/{user['id']}", json={"status": "disabled"})
            assert disabled.status_code == 200, disabled.text
            await post(
                "/roles", code="role-reader", name="Reader", permissions=["GET:/api/v1/users"]
            )
            body = {"username": "demoted", "email": "d@example.org", "name": "De Moted"}
            self._demoted = (await post("/users", **body, password=sealed(PASSWORD)))["id"]

    def start(self) -> None:
        """Let the clients work until `stop`."""
        self._working = [asyncio.create_task(self._client(n)) for n in range(CLIENTS)]
        self._working += [asyncio.create_task(self._chat()), asyncio.create_task(self._demote())]

    async def stop(self) -> None:
        """Let each client end its request, and go."""
        self._ended.set()
        await asyncio.gather(*self._working)

    def since(self, moment: float) -> Sequence[Answer]:
        """Return the answers that came since then."""
        return [answer for answer in self.answers if answer.at >= moment]

    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.api, timeout=30)

    async def _client(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - no secret
        async with self._http() as http:
            client = _Client(self, http, await self.tokens(http))
            while not self._ended.is_set():
                await client.act(chance.choice(client.actions))
                await asyncio.sleep(CLIENTS / REQUESTS_PER_SECOND * chance.uniform(0.5, 1.5))

    async def tokens(
        self, http: httpx.AsyncClient, username: str = ADMINISTRATOR
    ) -> dict[str, str]:
        """Log in; return nothing if that fails now."""
        body = {"username": username, "password": sealed(PASSWORD)}
        response = await http.post("/api/v1/auth/login", json=body)
        return response.json()["data"] or {}

    async def _demote(self) -> None:
        """Give a user a role and take it away, again and again, and let them try what they may not do without it."""
        async with self._http() as http:
            administrator = _Client(self, http, await self.tokens(http))
            user = _Client(self, http, await self.tokens(http, "demoted"), "demoted")
            while not self._ended.is_set():
                await administrator.give(self._demoted, "role-reader")
                await user.act(user.read)
                await administrator.give(self._demoted)
                until = time.monotonic() + 1
                while time.monotonic() < until and not self._ended.is_set():
                    await user.act(user.read_without_role)
                    await asyncio.sleep(0.1)

    async def _upload(self, http: httpx.AsyncClient) -> str:
        draft = {"name": "note.txt", "contentType": "text/plain", "size": 4}
        started = (await http.post("/api/v1/files", json=draft)).json()["data"]
        await self._put(started["upload"])
        path = f"/api/v1/files/{started['file']['id']}"
        assert (await http.post(f"{path}/complete")).status_code == 200
        return str(started["file"]["id"])

    async def _put(self, request: dict[str, Any]) -> None:
        async with httpx.AsyncClient(timeout=30) as store:
            put = await store.put(request["url"], headers=request["headers"], content=b"text")
            assert put.is_success, put.text

    async def _chat(self) -> None:
        """Send a message each quarter of a second, each until it is acknowledged."""
        numbers = itertools.count()
        while not self._ended.is_set():
            client = socketio.AsyncClient(reconnection=False)
            with suppress(socketio.exceptions.SocketIOError, asyncio.TimeoutError):
                async with self._http() as http:
                    token = (await self.tokens(http)).get("accessToken")
                await client.connect(
                    self.api, auth={"token": token}, transports=["websocket"], wait_timeout=5
                )
                while client.connected and not self._ended.is_set():
                    await self._send(client, f"00000000-0000-4000-8000-{next(numbers):012}")
                    await asyncio.sleep(0.25)
            with suppress(Exception):
                await client.disconnect()
            await asyncio.sleep(0.1)

    async def _send(self, client: socketio.AsyncClient, message: str) -> None:
        began = time.monotonic()
        sent = {"room": self.room, "text": "a message", "id": message}
        while not self._ended.is_set():
            try:
                ack = await client.call("chat.send", sent, timeout=10)
            except socketio.exceptions.TimeoutError:
                if client.connected:
                    now = time.monotonic()
                    self.answers.append(Answer("message", 0, now, now - began, "no ack"))
                raise
            now = time.monotonic()
            if "message" in ack:
                self.messages[message] = ack["message"]["seq"]
                self.answers.append(Answer("message", 200, now, now - began))
                return
            code = {1008: 401, 1013: 503}.get(ack["error"]["code"], 500)
            said = f"{ack['error']['code']} {ack['error']['data']}"
            self.answers.append(Answer("message", code, now, now - began, said))
            if code == 401:
                await client.disconnect()
                return
            began = now + 0.1
            await asyncio.sleep(0.1)


class _Client:
    """One session."""

    def __init__(
        self,
        load: Load,
        http: httpx.AsyncClient,
        tokens: Mapping[str, str],
        username: str = ADMINISTRATOR,
    ) -> None:
        self._username = username
        self._role = ""
        self._chance = random.Random()  # noqa: S311 - no secret
        self._load = load
        self._http = http
        self._tokens = tokens
        self.actions: Sequence[Callable[[], Awaitable[None]]] = (
            self._info,
            self.read,
            self._log_in,
            self._refresh,
            self._change,
            self._audit,
            self._url,
            self._complete,
            self._task,
            self._log_out,
            self._be_revoked,
        )

    async def act(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do something; log in again if the session is over."""
        await action()
        if not self._tokens:
            response = await self._send("login", "POST", "/auth/login", json=self._credentials)
            if response is not None and response.status_code == 200:
                self._tokens = response.json()["data"]

    @property
    def _credentials(self) -> dict[str, str]:
        return {"username": self._username, "password": sealed(PASSWORD)}

    async def give(self, user: str, *roles: str) -> None:
        """Let a user have these roles and no others; return when that is acknowledged."""
        done = False

        async def change() -> None:
            nonlocal done
            done = bool(await self._send("give", "PATCH", f"/users/{user}", json={"roles": roles}))

        while not done and not self._load._ended.is_set():
            await self.act(change)
            await asyncio.sleep(0.1)

    async def read(self) -> None:
        """Do what needs a permission."""
        await self._send("page", "GET", "/users?pageSize=5")

    async def read_without_role(self) -> None:
        """Do it without the permission."""
        await self._send("demoted", "GET", "/users?pageSize=5")

    async def _send(
        self, action: str, method: str, path: str, **given: Any
    ) -> httpx.Response | None:
        # Without a token, for httpx sends no header that ends with a space.
        if "headers" not in given and self._tokens:
            given["headers"] = {"Authorization": f"Bearer {self._tokens['accessToken']}"}
        began = time.monotonic()
        response = None
        with suppress(httpx.TransportError):
            response = await self._http.request(method, f"/api/v1{path}", **given)
        now = time.monotonic()
        status = 0 if response is None else response.status_code
        error = "" if response is None or response.is_success else response.json()["error"]
        self._load.answers.append(Answer(action, status, now, now - began, error))
        if status == 401 and action != "revoked":
            self._tokens = {}
        return response if response is not None and response.is_success else None

    async def _info(self) -> None:
        await self._send("info", "GET", "/auth/user/info")

    async def _log_in(self) -> None:
        await self._send("login", "POST", "/auth/login", json=self._credentials, headers={})

    async def _refresh(self) -> None:
        headers = {"X-Refresh-Token": self._tokens.get("refreshToken", "none")}
        if answer := await self._send("refresh", "POST", "/auth/token/refresh", headers=headers):
            self._tokens = answer.json()["data"]

    async def _change(self) -> None:
        code = f"role-{next(self._load._numbers)}"
        body = {"code": code, "name": code}
        if answer := await self._send("change", "POST", "/roles", json=body):
            self._load.roles.add(code)
            self._role = answer.json()["data"]["id"]

    async def _audit(self) -> None:
        # Of one target: the server of the tests reads all that match before it cuts off a page.
        await self._send("audit", "GET", f"/audit?target=role:{self._role}")

    async def _url(self) -> None:
        await self._send("url", "GET", f"/files/{self._load.file}/url")

    async def _complete(self) -> None:
        draft = {"name": "note.txt", "contentType": "text/plain", "size": 4}
        if not (answer := await self._send("begin", "POST", "/files", json=draft)):
            return
        started = answer.json()["data"]
        with suppress(httpx.TransportError):
            await self._load._put(started["upload"])
            await self._send("complete", "POST", f"/files/{started['file']['id']}/complete")

    async def _task(self) -> None:
        path = f"/periodic-tasks/{self._load.task}/run"
        if answer := await self._send("task", "POST", path):
            self._load.runs.add(answer.json()["data"]["id"])

    async def _log_out(self) -> None:
        """End a session; once that is acknowledged its tokens are used again, and have to be refused."""
        given = self._credentials
        if not (answer := await self._send("login", "POST", "/auth/login", json=given, headers={})):
            return
        tokens = answer.json()["data"]
        headers = {"Authorization": f"Bearer {tokens['accessToken']}"}
        if await self._send("logout", "POST", "/auth/logout", headers=headers):
            self._load._revoked.append(tokens)

    async def _be_revoked(self) -> None:
        tokens = self._chance.choice(self._load._revoked[-20:] + self._load._revoked[:1])
        if self._chance.random() < 0.5:
            headers = {"X-Refresh-Token": tokens["refreshToken"]}
            await self._send("revoked", "POST", "/auth/token/refresh", headers=headers)
        else:
            headers = {"Authorization": f"Bearer {tokens['accessToken']}"}
            await self._send("revoked", "GET", "/auth/user/info", headers=headers)
