"""The real-time API over a world in memory, and clients of it without a network."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from fastapi import FastAPI

from domain.identity import User
from entrypoints.realtime.app import Realtime
from entrypoints.realtime.security import (
    AuthenticatedEvent,
    CallerDep,
    GuardedEvent,
    PublicEvent,
    VerifyPermissionDep,
)
from entrypoints.socketio.router import SocketRouter
from entrypoints.socketio.testing import SocketTestClient
from entrypoints.tracing import Traces
from entrypoints.wiring import attach
from tests.support.world import LAPTOP, World

GUARDED = "EVENT:fake.guarded"

fake = SocketRouter(prefix="fake.")


@fake.on("public", dependencies=[PublicEvent])
async def public() -> str:
    return "anybody"


@fake.on("own", dependencies=[AuthenticatedEvent])
async def own(caller: CallerDep) -> str:
    return str(caller.user_id)


@fake.on("guarded", dependencies=[GuardedEvent])
async def guarded(number: int, caller: VerifyPermissionDep) -> list[Any]:
    """Return what was sent.

    It takes a permission.
    """
    return [str(caller.user_id), number]


class Sockets:
    """The real-time API of a world."""

    def __init__(
        self,
        world: World,
        routers: Iterable[SocketRouter] = (fake,),
        traces: Traces | None = None,
    ) -> None:
        self.world = world
        app = FastAPI()  # without routes, which take long to make
        attach(app.state, world.container)
        self.realtime = Realtime(app, routers=routers, traces=traces)
        self.sio = self.realtime.sio
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.realtime.running())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)

    async def token(self, user: User) -> str:
        """Log in and return the access token."""
        _, tokens = await self.world.log_in_as(user)
        return tokens.access_token

    async def client(self, user: User) -> SocketTestClient:
        """Return a client of `user`, who has logged in; it connects when it is entered."""
        return self.with_auth({"token": await self.token(user)})

    def with_auth(
        self, auth: dict[str, Any] | None, headers: dict[str, str] | None = None
    ) -> SocketTestClient:
        """Return a client that authenticates in this way."""
        return SocketTestClient(
            self.sio, auth=auth, headers={"User-Agent": LAPTOP.agent or ""} | (headers or {})
        )
