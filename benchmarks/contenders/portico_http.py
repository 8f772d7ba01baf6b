"""Ours: the route is the last of all, behind the guard; beside it one for everybody.

Settings come from the environment. The arguments name optimisations to do without, which shows what each is good for.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import uvloop
from dependency_injector import providers
from fastapi import Depends, FastAPI, Request
from redis._parsers import Encoder
from redis.connection import PythonRespSerializer
from starlette.types import Scope

import bootstrap
from adapters.bounded_cache import BoundedCache
from adapters.redis import client
from adapters.redis.access_versions import RedisAccessVersions
from application.ports.access_versions import AccessSnapshot
from application.settings import Environment
from benchmarks.contenders.http import USERS, Page, get, serve, show_page
from domain.grants import Grant
from domain.identity import Email, PersonName, User, UserId, Username
from domain.roles import Role, RoleCode, RoleId
from domain.sessions import NewSession, SessionId, TokenId
from entrypoints.api import create_api
from entrypoints.cli.api import options
from entrypoints.http.protocol import JoiningTransport
from entrypoints.http.request_context import RequestContext
from entrypoints.http.request_log import RequestLog
from entrypoints.http.route_table import RouteTable, TabledRouter
from entrypoints.http.router import Router
from entrypoints.http.security import GuardedRoute, PublicRoute, verify_permission

router = Router(prefix="/api/v1/bench")
router.get("/public", response_model=Page, dependencies=[PublicRoute])(show_page)
router.get("/page", response_model=Page, dependencies=[GuardedRoute])(show_page)


async def _check(request: Request) -> None:
    await verify_permission(request)


_GUARD_IN_ROUTE = "the guard in the route"
# FastAPI calls this guard, as any dependency of a public route.
router.get("/checked", response_model=Page, dependencies=[PublicRoute, Depends(_check)])(show_page)


def _replace(owner: object, name: str, value: object) -> None:
    """Replace what is there; raise `AttributeError` if it is not: without anything, nothing would be measured."""
    getattr(owner, name)
    setattr(owner, name, value)


def _without_a_frozen_heap(app: FastAPI) -> None:
    _replace(app.state, "owns_process", False)  # noqa: FBT003 - the value


def _without_the_route_table(_app: FastAPI) -> None:
    _replace(RouteTable, "find", lambda *_: None)


def _without_joined_writes(_app: FastAPI) -> None:
    _replace(JoiningTransport, "write", lambda self, data: self._transport.write(data))


def _without_remembered_tokens(app: FastAPI) -> None:
    _replace(app.state.container.tokens(), "_accepted", BoundedCache(1))


def _without_a_kept_connection(app: FastAPI) -> None:
    container = app.state.container
    fetch = container.access_versions()._fetch  # noqa: SLF001 - nobody else needs a way to be without
    _replace(fetch, "_execute", container.redis().execute)


def _without_a_shared_question(app: FastAPI) -> None:
    async def fetch_alone(question: tuple[UserId, SessionId]) -> AccessSnapshot:
        (snapshot,) = await versions._snapshots([question])  # noqa: SLF001 - likewise
        return cast("AccessSnapshot", snapshot)

    versions = app.state.container.access_versions()
    _without_a_kept_connection(app)  # one question at a time goes over it
    _replace(versions, "_fetched", fetch_alone)


def _without_the_compiled_packer(_app: FastAPI) -> None:
    encoder = Encoder("utf-8", "strict", decode_responses=True)  # type: ignore[no-untyped-call]  # the driver's own gap
    _replace(client, "_SERIALIZER", PythonRespSerializer(6000, encoder.encode))


def _without_layers_of_our_own_alone(app: FastAPI) -> None:
    router = app.router
    app.router = TabledRouter(router)  # type: ignore[assignment]  # it is only called
    _replace(app, "middleware_stack", FastAPI.build_middleware_stack(app))
    app.router = router


def _without_lines_written_together(_app: FastAPI) -> None:
    def add(
        self: RequestLog, scope: Scope, method: str, context: RequestContext, seconds: float
    ) -> None:
        add_to_turn(self, scope, method, context, seconds)
        self._write()

    add_to_turn = RequestLog.add
    _replace(RequestLog, "add", add)


def _without_remembered_access(app: FastAPI) -> None:
    _replace(app.state.container.access_cache(), "_local", BoundedCache(1))


def _without_a_batch_of_misses(app: FastAPI) -> None:
    async def read_alone(user_id: UserId) -> str | None:
        (stored,) = await shared._read([user_id])  # noqa: SLF001 - likewise
        text: str | None = stored
        return text

    shared = app.state.container.access_cache()._shared  # noqa: SLF001 - likewise
    _replace(shared, "_stored", read_alone)


WITHOUT: Mapping[str, Callable[[FastAPI], None]] = {
    "a frozen heap": _without_a_frozen_heap,
    "the route table": _without_the_route_table,
    "joined writes": _without_joined_writes,
    "remembered tokens": _without_remembered_tokens,
    "a kept connection": _without_a_kept_connection,
    "a shared question": _without_a_shared_question,
    "the compiled packer": _without_the_compiled_packer,
    "layers of our own alone": _without_layers_of_our_own_alone,
    "lines written together": _without_lines_written_together,
    "remembered access": _without_remembered_access,
    "a batch of misses": _without_a_batch_of_misses,
    _GUARD_IN_ROUTE: lambda _: None,  # another route is measured
}


async def _requests(container: bootstrap.Container, path: str) -> list[str]:
    """Store users who have logged in; return a request of each."""
    now = datetime.now(UTC)  # noqa: TID251 - no rule depends on it
    reader = Role(
        id=RoleId(UUID(int=1)),
        code=RoleCode("reader"),
        name="Reader",
        grants=frozenset({Grant("GET:/api/v1/**")}),
        created_at=now,
        updated_at=now,
    )
    users = [
        User(
            id=UserId(UUID(int=number)),
            username=Username(f"user-{number}"),
            email=Email(f"user-{number}@example.org"),
            name=PersonName(f"User {number}"),
            password_hash="unused",  # noqa: S106 - nobody logs in with it
            created_at=now,
            updated_at=now,
            password_changed_at=now,
        )
        for number in range(1, USERS + 1)
    ]
    async with container.uow() as uow:
        await uow.roles.add(reader)
        for user in users:
            await uow.users.add(user)
            await uow.roles.assign(user.id, [reader.id])
        await uow.commit()
    return [
        get(path, Authorization=f"Bearer {await access_token(container, user)}") for user in users
    ]


async def access_token(container: bootstrap.Container, user: User) -> str:
    """Open a session of a user."""
    settings = container.settings().sessions
    opened = await container.session_store().open(
        NewSession(
            id=SessionId(user.id),
            user_id=user.id,
            token_id=TokenId(user.id),
            valid_from=user.sessions_valid_from,
            fingerprint="",
            agent="bench/1",
            address="127.0.0.1",
        ),
        idle=settings.refresh_idle,
        absolute=settings.refresh_absolute,
        cap=settings.sessions_per_user,
    )
    token: str = container.issue_tokens()(opened.session).access_token
    return token


async def settle_access(container: bootstrap.Container) -> None:
    """Return when access is cached; a new Redis is taken for one that has lost changes in progress."""
    versions = RedisAccessVersions(container.redis(), dirty_ttl=timedelta(seconds=1))
    container.access_versions.override(providers.Object(versions))
    anybody = UUID(int=1)
    while not (await versions.fetch(UserId(anybody), SessionId(anybody))).stable:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.5)


async def _main() -> None:
    settings = bootstrap.load_settings()
    # Its lines are those of production; its keys need not be.
    bootstrap.configure_logging(replace(settings, environment=Environment.PRODUCTION))
    container = bootstrap.build(settings)
    await container.schema().upgrade()
    path = "/api/v1/bench/" + ("checked" if _GUARD_IN_ROUTE in sys.argv else "page")
    requests = await _requests(container, path)
    await settle_access(container)
    api = create_api(container=container, routers=[router])
    api.http.state.owns_process = True
    for name in sys.argv[1:]:
        WITHOUT[name](api.http)
    public = [get("/api/v1/bench/public")]
    await serve(api, {"page": requests, "public": public}, options(settings))


if __name__ == "__main__":
    uvloop.run(_main())
