"""How long a connection lasts, and what ends it."""

import pytest

from application.settings import SessionSettings
from domain.errors import Unavailable
from domain.identity import User, UserStatus
from entrypoints.socketio.testing import SocketTestClient
from tests.support.builders import a_role, a_user
from tests.support.realtime import GUARDED, Sockets
from tests.support.world import World

LIFETIME = SessionSettings().access_lifetime
REFUSED = "The token is not valid, or its session is over; log in again"


@pytest.fixture
async def ada(world: World) -> User:
    return await world.given(a_user(), a_role(GUARDED))


async def assert_ended(client: SocketTestClient, reason: str) -> None:
    assert await client.receive("error") == {
        "code": 1008,
        "event": "connect",
        "message": "Policy Violation.",
        "data": reason,
    }
    await client.wait_disconnected()


async def test_a_connection_ends_with_its_token(world: World, sockets: Sockets, ada: User) -> None:
    async with await sockets.client(ada) as client:
        await world.clock.pass_time(LIFETIME / 2)
        await sockets.realtime.sweeper.sweep()
        assert client.is_connected
        await world.clock.pass_time(LIFETIME / 2)
        await sockets.realtime.sweeper.sweep()

        await assert_ended(client, "The access token has expired")
    assert not sockets.realtime.local.principals


async def test_a_refreshed_token_lets_it_go_on(world: World, sockets: Sockets, ada: User) -> None:
    _, tokens = await world.log_in_as(ada)
    async with sockets.with_auth({"token": tokens.access_token}) as client:
        await world.clock.pass_time(LIFETIME / 2)
        renewed = await world.refresh(tokens)
        ack = await client.call("auth.refresh", {"token": renewed.access_token})
        assert ack["expiresAt"] == (world.clock.now() + LIFETIME).isoformat().replace("+00:00", "Z")

        await world.clock.pass_time(LIFETIME / 2)
        await sockets.realtime.sweeper.sweep()
        assert await client.call("fake.own") == str(ada.id)


async def test_a_token_of_another_session_or_user_is_refused(
    world: World, sockets: Sockets, ada: User
) -> None:
    async with await sockets.client(ada) as client:
        for user in (ada, await world.given(a_user())):
            token = await sockets.token(user)
            ack = await client.call("auth.refresh", {"token": token})
            assert ack["error"]["code"] == 1008
        assert await client.call("fake.own") == str(ada.id)


@pytest.mark.parametrize("payload", [None, {}, {"token": 7}, "x", {"token": "x" * 20_000}])
async def test_a_refresh_without_a_token_is_a_wrong_payload(
    sockets: Sockets, ada: User, payload: object
) -> None:
    async with await sockets.client(ada) as client:
        assert (await client.call("auth.refresh", payload))["error"]["code"] == 1007


async def test_the_end_of_the_session_ends_the_connection(
    world: World, sockets: Sockets, ada: User
) -> None:
    caller, tokens = await world.log_in_as(ada)
    async with (
        sockets.with_auth({"token": tokens.access_token}) as ended,
        await sockets.client(ada) as other,
    ):
        await world.container.session_store().end(ada.id, caller.session_id)
        assert (await ended.call("fake.own"))["error"]["code"] == 1008
        await ended.receive("error")
        await sockets.realtime.sweeper.sweep()

        await assert_ended(ended, REFUSED)
        assert await other.call("fake.own") == str(ada.id)


async def test_a_user_who_is_disabled_or_deleted_is_disconnected(
    world: World, sockets: Sockets, ada: User
) -> None:
    grace = await world.given(a_user())
    async with await sockets.client(ada) as disabled, await sockets.client(grace) as deleted:
        await world.change(ada, status=UserStatus.DISABLED)
        await world.remove(grace)
        await sockets.realtime.sweeper.sweep()

        await assert_ended(disabled, REFUSED)
        await assert_ended(deleted, REFUSED)


async def test_a_connection_that_nothing_happened_to_costs_no_sql(
    world: World, sockets: Sockets, ada: User
) -> None:
    async with await sockets.client(ada) as client:
        await sockets.realtime.sweeper.sweep()
        before = sockets.realtime.local.principals[client.sid].checked
        with world.container.uow.override(None):
            await sockets.realtime.sweeper.sweep()

        assert sockets.realtime.local.principals[client.sid].checked is before


async def test_a_change_that_is_under_way_is_looked_for_until_it_is_over(
    world: World, sockets: Sockets, ada: User
) -> None:
    async with await sockets.client(ada) as client:
        async with world.changing([ada.id]) as uow:
            await sockets.realtime.sweeper.sweep()
            stored = await uow.users.lock(ada.id)
            stored.status = UserStatus.DISABLED
            await uow.users.save(stored)
        assert client.is_connected
        await sockets.realtime.sweeper.sweep()

        await client.wait_disconnected()


async def test_a_store_that_is_away_ends_no_connection(
    world: World, sockets: Sockets, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token bounds how long that may last."""

    async def away(_: object) -> None:
        raise Unavailable("Redis")

    async with await sockets.client(ada) as client:
        with monkeypatch.context() as patched:
            patched.setattr(world.container.access_versions(), "fetch_many", away)
            with pytest.raises(Unavailable):
                await sockets.realtime.sweeper.sweep()
            assert client.is_connected
            await world.clock.pass_time(LIFETIME)
            with pytest.raises(Unavailable):
                await sockets.realtime.sweeper.sweep()
        await assert_ended(client, "The access token has expired")
