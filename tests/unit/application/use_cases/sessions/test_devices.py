"""Who makes a request, where a user is logged in, and how that ends."""

import pytest

from domain.identity import PasswordChangeRequired, UserStatus
from domain.sessions import InvalidToken, SessionNotFound
from tests.support.builders import a_user
from tests.support.world import LAPTOP, PHONE, World

# --- the caller ---------------------------------------------------------------------------------


async def test_the_caller_is_known_as_they_are_now(world: World) -> None:
    ada = await world.given(a_user())
    caller, tokens = await world.log_in_as(ada)
    assert (caller.user_id, caller.access.is_admin, caller.client) == (ada.id, False, LAPTOP)

    await world.change(ada, must_change_password=True, is_admin=True)

    with pytest.raises(PasswordChangeRequired):
        await world.authenticate(tokens)
    assert (await world.authenticate(tokens, accepts_one_time_password=True)).access.is_admin


async def test_an_access_token_expires(world: World) -> None:
    _, tokens = await world.log_in_as(await world.given(a_user()))
    await world.pass_time(minutes=9, seconds=59)
    await world.authenticate(tokens)
    await world.pass_time(seconds=1)

    with pytest.raises(InvalidToken):
        await world.authenticate(tokens)


async def test_a_disabled_user_is_cut_off_at_the_next_request(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    await world.change(ada, status=UserStatus.DISABLED)

    with pytest.raises(InvalidToken):
        await world.authenticate(tokens)


async def test_a_user_who_is_gone_is_cut_off_at_the_next_request(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    await world.remove(ada)

    with pytest.raises(InvalidToken):
        await world.authenticate(tokens)


async def test_the_next_refresh_token_of_a_session_says_who_would_refresh(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    who = world.container.guard().with_refresh_token
    assert await who(tokens.refresh_token, LAPTOP) == await world.authenticate(tokens)

    successors = await world.refresh(tokens)

    assert await who(successors.refresh_token, LAPTOP) == await world.authenticate(successors)
    with pytest.raises(InvalidToken):
        await who(tokens.refresh_token, LAPTOP)
    await world.change(ada, status=UserStatus.DISABLED)
    with pytest.raises(InvalidToken):
        await who(successors.refresh_token, LAPTOP)


# --- devices ------------------------------------------------------------------------------------


async def test_a_user_sees_where_they_are_logged_in_the_newest_first(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada, LAPTOP)
    await world.pass_time(minutes=1)
    await world.log_in_as(ada, PHONE)
    await world.log_in_as(await world.given(a_user()), PHONE)

    sessions = await world.container.list_sessions()(caller)

    assert [session.address for session in sessions] == [PHONE.address, LAPTOP.address]


async def test_a_user_ends_one_of_their_sessions(world: World) -> None:
    ada = await world.given(a_user())
    caller, tokens = await world.log_in_as(ada, LAPTOP)
    lost, lost_tokens = await world.log_in_as(ada, PHONE)

    await world.container.end_session()(caller, lost.session_id)

    with pytest.raises(InvalidToken):
        await world.authenticate(lost_tokens)
    await world.authenticate(tokens)
    with pytest.raises(SessionNotFound):
        await world.container.end_session()(caller, lost.session_id)


async def test_users_cannot_end_a_session_of_another_user(world: World) -> None:
    caller, _ = await world.log_in_as(await world.given(a_user()))
    other, other_tokens = await world.log_in_as(await world.given(a_user()))

    with pytest.raises(SessionNotFound):
        await world.container.end_session()(caller, other.session_id)
    await world.authenticate(other_tokens)


# --- log-out ------------------------------------------------------------------------------------


async def test_a_log_out_ends_this_session_and_no_other(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada, LAPTOP)
    _, others = await world.log_in_as(ada, PHONE)

    await world.container.log_out()(LAPTOP, access_token=tokens.access_token, refresh_token=None)

    for rejected in (world.authenticate(tokens), world.refresh(tokens)):
        with pytest.raises(InvalidToken):
            await rejected
    await world.authenticate(others)


async def test_a_log_out_works_with_an_expired_access_token(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    await world.pass_time(hours=1)

    await world.container.log_out()(LAPTOP, access_token=tokens.access_token, refresh_token=None)

    assert await world.sessions(ada) == []


@pytest.mark.parametrize("access_token", [None, "garbage"])
async def test_a_log_out_works_with_the_refresh_token(
    world: World, access_token: str | None
) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)

    await world.container.log_out()(
        LAPTOP, access_token=access_token, refresh_token=tokens.refresh_token
    )

    assert await world.sessions(ada) == []


async def test_logging_out_twice_is_no_error(world: World) -> None:
    _, tokens = await world.log_in_as(await world.given(a_user()))
    for _ in range(2):
        await world.container.log_out()(
            LAPTOP, access_token=tokens.access_token, refresh_token=None
        )


@pytest.mark.parametrize(
    ("access_token", "refresh_token"), [(None, None), ("garbage", None), ("garbage", "garbage")]
)
async def test_a_log_out_without_a_token_of_ours_ends_nothing(
    world: World, access_token: str | None, refresh_token: str | None
) -> None:
    with pytest.raises(InvalidToken):
        await world.container.log_out()(
            LAPTOP, access_token=access_token, refresh_token=refresh_token
        )


async def test_logging_out_everywhere_ends_every_session_of_the_caller(world: World) -> None:
    ada = await world.given(a_user())
    caller, tokens = await world.log_in_as(ada, LAPTOP)
    await world.log_in_as(ada, PHONE)
    bob = await world.given(a_user())
    await world.log_in_as(bob)

    assert await world.container.log_out_everywhere()(caller) == 2

    assert await world.sessions(ada) == []
    assert len(await world.sessions(bob)) == 1
    with pytest.raises(InvalidToken):
        await world.refresh(tokens)
