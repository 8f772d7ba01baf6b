"""Who may connect, and who may send which event."""

from typing import Any

import pytest

from domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PorticoError,
    PreconditionFailed,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.identity import UserStatus
from entrypoints.realtime.errors import CODE_OF_KIND
from entrypoints.realtime.security import (
    AuthenticatedConnection,
    AuthenticatedEvent,
    GuardedEvent,
    PublicEvent,
    UndeclaredEvent,
    check_declared,
    guarded_events,
)
from entrypoints.realtime.server import described_server
from entrypoints.socketio.namespace import AsyncNamespace
from entrypoints.socketio.router import SocketRouter
from entrypoints.socketio.testing import ConnectionRefused
from tests.support.builders import a_role, a_user
from tests.support.clock import SECOND
from tests.support.realtime import GUARDED, Sockets
from tests.support.world import World

NOT_ALLOWED, INVALID, TRY_AGAIN = 1008, 1007, 1013


async def test_a_client_connects_with_an_access_token(world: World, sockets: Sockets) -> None:
    ada = await world.given(a_user())

    async with await sockets.client(ada) as client:
        assert await client.call("fake.own") == str(ada.id)


async def test_the_token_may_be_in_the_header(world: World, sockets: Sockets) -> None:
    """For clients that cannot send anything to authenticate; what is sent comes first."""
    ada = await world.given(a_user())
    bearer = {"Authorization": f"Bearer {await sockets.token(ada)}"}

    async with sockets.with_auth(None, bearer) as client:
        assert await client.call("fake.own") == str(ada.id)
    with pytest.raises(ConnectionRefused):
        async with sockets.with_auth({"token": "wrong"}, bearer):
            pass


@pytest.mark.parametrize(
    "auth",
    [
        None,
        {},
        {"token": None},
        {"token": 7},
        {"token": ""},
        {"token": "x"},
        {"Token": "x"},
    ],
)
async def test_a_connection_without_a_valid_token_is_refused(sockets: Sockets, auth: Any) -> None:
    with pytest.raises(ConnectionRefused) as refused:
        async with sockets.with_auth(auth):
            pass

    assert refused.value.data["data"]["code"] == NOT_ALLOWED
    assert refused.value.data["data"]["event"] == "connect"
    assert not sockets.realtime.local.principals


async def test_a_disabled_user_cannot_connect(world: World, sockets: Sockets) -> None:
    ada = await world.given(a_user())
    client = await sockets.client(ada)
    await world.change(ada, status=UserStatus.DISABLED)

    with pytest.raises(ConnectionRefused):
        async with client:
            pass


async def test_a_one_time_password_is_changed_before_anything_else(
    world: World, sockets: Sockets
) -> None:
    client = await sockets.client(await world.given(a_user(must_change_password=True)))

    with pytest.raises(ConnectionRefused) as refused:
        async with client:
            pass
    assert refused.value.data["data"]["code"] == NOT_ALLOWED


async def test_a_guarded_event_needs_its_permission(world: World, sockets: Sockets) -> None:
    ada, grace = await world.given(a_user(), a_role(GUARDED)), await world.given(a_user())

    async with await sockets.client(ada) as client:
        assert await client.call("fake.guarded", 7) == [str(ada.id), 7]
    async with await sockets.client(grace) as client:
        ack = await client.call("fake.guarded", 7)
        assert ack["error"] == await client.receive("error")
        assert ack["error"] == {
            "code": NOT_ALLOWED,
            "event": "fake.guarded",
            "message": "Policy Violation.",
            "data": f"This needs the permission {GUARDED}",
        }


async def test_permission_comes_before_the_payload(world: World, sockets: Sockets) -> None:
    """Who may not send an event does not learn what it would take."""
    async with await sockets.client(await world.given(a_user())) as client:
        assert (await client.call("fake.guarded", "x"))["error"]["code"] == NOT_ALLOWED


@pytest.mark.parametrize("pattern", ["EVENT:**", "*:**", "EVENT:/*"])
async def test_patterns_grant_events_too(world: World, sockets: Sockets, pattern: str) -> None:
    ada = await world.given(a_user(), a_role(pattern))

    async with await sockets.client(ada) as client:
        assert await client.call("fake.guarded", 7) == [str(ada.id), 7]


async def test_a_right_that_is_taken_away_is_gone_with_the_next_event(
    world: World, sockets: Sockets
) -> None:
    ada = await world.given(a_user(), a_role(GUARDED))
    async with await sockets.client(ada) as client:
        await client.call("fake.guarded", 7)
        async with world.changing([ada.id]) as uow:
            await uow.roles.assign(ada.id, [])

        assert (await client.call("fake.guarded", 7))["error"]["code"] == NOT_ALLOWED
        assert await client.call("fake.own") == str(ada.id)


async def test_guarded_events_are_in_the_catalogue(sockets: Sockets) -> None:
    by_code = {route.code.value: route for route in guarded_events(sockets.sio)}

    assert by_code[GUARDED].name == "Fake guarded"
    assert by_code[GUARDED].description == "Return what was sent.\n\nIt takes a permission."
    assert by_code[GUARDED].tag == "realtime"
    assert not {"EVENT:fake.own", "EVENT:fake.public", "EVENT:connect"} & by_code.keys()


def test_every_event_of_ours_is_declared() -> None:
    check_declared(described_server())


@pytest.mark.parametrize(
    ("event", "namespace", "dependencies"),
    [
        ("new", None, []),
        ("new", None, [PublicEvent, GuardedEvent]),
        ("*", None, [GuardedEvent]),
        ("new", "/other", [PublicEvent]),
        ("connect", "/other", []),
        ("connect", "/other", [GuardedEvent]),
    ],
)
def test_an_event_that_does_not_say_for_whom_it_is_keeps_us_from_starting(
    event: str, namespace: str | None, dependencies: list[Any]
) -> None:
    router = SocketRouter()

    @router.on(event, namespace=namespace, dependencies=dependencies)
    async def handle() -> None: ...

    with pytest.raises(UndeclaredEvent):
        described_server(routers=[router])


def test_a_plain_handler_of_a_class_is_undeclared_too() -> None:
    class Plain(AsyncNamespace):
        async def on_new(self, sid: str) -> None: ...

    sio = described_server()
    sio.register_namespace(Plain("/plain"))

    with pytest.raises(UndeclaredEvent) as raised:
        check_declared(sio)
    assert raised.value.events == ["connect of /plain", "new of /plain"]


async def test_other_namespaces_authenticate_alike(world: World) -> None:
    router = SocketRouter(namespace="/other")

    @router.on("connect", dependencies=[AuthenticatedConnection])
    async def connect() -> None: ...

    @router.on("new", dependencies=[GuardedEvent])
    async def new() -> int:
        return 1

    ada = await world.given(a_user(), a_role("EVENT:/other/new"))
    async with Sockets(world, routers=[router]) as sockets:
        client = await sockets.client(ada)
        client.namespace = "/other"
        async with client:
            assert await client.call("new") == 1
        await sockets.realtime.sweeper.sweep()
        assert not sockets.realtime.local.principals


async def test_an_event_of_an_unknown_user_is_refused_where_everybody_may_connect(
    world: World,
) -> None:
    router = SocketRouter(namespace="/open")

    @router.on("connect", dependencies=[PublicEvent])
    async def connect() -> None: ...

    @router.on("own", dependencies=[AuthenticatedEvent])
    async def own() -> int:
        return 1

    async with Sockets(world, routers=[router]) as sockets:
        client = sockets.with_auth(None)
        client.namespace = "/open"
        async with client:
            assert (await client.call("own"))["error"]["code"] == NOT_ALLOWED


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (NotFound, NOT_ALLOWED),
        (Conflict, NOT_ALLOWED),
        (Unauthenticated, NOT_ALLOWED),
        (Forbidden, NOT_ALLOWED),
        (Invalid, INVALID),
        (PreconditionFailed, NOT_ALLOWED),
        (RateLimited, TRY_AGAIN),
        (Unavailable, TRY_AGAIN),
    ],
)
async def test_the_kind_of_an_error_decides_its_code(
    world: World, kind: type[PorticoError], code: int
) -> None:
    router = SocketRouter()
    arguments: dict[type[PorticoError], dict[str, Any]] = {
        Invalid: {"field": "text"},
        RateLimited: {"retry_after": SECOND},
    }

    @router.on("fail", dependencies=[PublicEvent])
    async def fail() -> None:
        raise kind() if kind is PreconditionFailed else kind("why", **arguments.get(kind, {}))

    async with (
        Sockets(world, routers=[router]) as sockets,
        await sockets.client(await world.given(a_user())) as client,
    ):
        ack = await client.call("fail")

    assert ack["error"]["code"] == code
    assert {*CODE_OF_KIND} == {*PorticoError.__subclasses__()}
