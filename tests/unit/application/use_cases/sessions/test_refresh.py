"""The rotation of refresh tokens: retries are harmless, copies are found, and every session has an end."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.memory.unit_of_work import MemoryUnitOfWork
from application.settings import SessionSettings
from application.use_cases.caller import ClientInfo
from application.use_cases.sessions.tokens import TokenPair
from domain.errors import Unavailable
from domain.identity import UserStatus
from domain.log_in_throttle import Throttled
from domain.sessions import AgentBinding, InvalidToken, RotationOutcome, SessionCompromised
from tests.support.builders import a_user
from tests.support.world import IN_MEMORY, LAPTOP, PHONE, World

LAPTOP_AFTER_AN_UPDATE = ClientInfo(
    address="203.0.113.7",
    agent="Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
)


async def test_a_refresh_gives_a_new_pair_in_the_same_session(world: World) -> None:
    ada = await world.given(a_user())
    caller, first = await world.log_in_as(ada)
    await world.pass_time(minutes=11)

    second = await world.refresh(first)

    assert second.refresh_token != first.refresh_token
    assert (await world.authenticate(second)).session_id == caller.session_id
    (session,) = await world.sessions(ada)
    assert session.last_seen_at == world.clock.now()
    with pytest.raises(InvalidToken):
        await world.authenticate(first)


async def test_a_retry_within_the_grace_period_gives_the_same_successor(world: World) -> None:
    """Two tabs, or an answer that was lost."""
    _, first = await world.log_in_as(await world.given(a_user()))
    second = await world.refresh(first)
    await world.pass_time(seconds=9)

    again = await world.refresh(first)

    assert again.refresh_token == second.refresh_token
    await world.authenticate(again)
    await world.refresh(again)


async def test_of_many_refreshes_at_once_all_get_the_same_successor(world: World) -> None:
    _, first = await world.log_in_as(await world.given(a_user()))

    pairs = await asyncio.gather(*(world.refresh(first) for _ in range(50)))

    assert len({pair.refresh_token for pair in pairs}) == 1
    await world.refresh(pairs[0])


async def test_without_a_grace_period_a_retry_is_a_reuse() -> None:
    world = World(replace(IN_MEMORY, sessions=SessionSettings(refresh_grace=timedelta(0))))
    _, first = await world.log_in_as(await world.given(a_user()))
    await world.refresh(first)
    await world.pass_time(seconds=1)

    with pytest.raises(SessionCompromised):
        await world.refresh(first)


async def test_a_token_that_is_shown_again_later_ends_its_session(world: World) -> None:
    ada = await world.given(a_user())
    caller, first = await world.log_in_as(ada)
    _, elsewhere = await world.log_in_as(ada, PHONE)
    second = await world.refresh(first)
    await world.pass_time(seconds=10)

    with pytest.raises(SessionCompromised) as compromised:
        await world.refresh(first)

    assert compromised.value.outcome is RotationOutcome.REUSED
    assert (compromised.value.user_id, compromised.value.session_id) == (ada.id, caller.session_id)
    for rejected in (world.refresh(second), world.authenticate(second)):
        with pytest.raises(InvalidToken):
            await rejected
    await world.refresh(elsewhere, PHONE)


async def test_a_theft_that_cannot_be_recorded_is_still_answered_as_one(world: World) -> None:
    """The session is over: an error that asks to try again would be a lie."""

    class StoreThatStops(MemoryUnitOfWork):
        async def commit(self) -> None:
            raise Unavailable("PostgreSQL")

    ada = await world.given(a_user())
    _, first = await world.log_in_as(ada)
    await world.refresh(first)
    await world.pass_time(seconds=10)
    refresh = replace(world.container.refresh_session(), uow=lambda: StoreThatStops(world.store))

    with pytest.raises(SessionCompromised):
        await refresh(first.refresh_token, LAPTOP)

    assert await world.sessions(ada) == []


async def test_a_token_older_than_the_previous_one_is_a_reuse_at_once(world: World) -> None:
    _, first = await world.log_in_as(await world.given(a_user()))
    await world.refresh(await world.refresh(first))

    with pytest.raises(SessionCompromised):
        await world.refresh(first)


async def test_another_kind_of_device_ends_the_session(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada, LAPTOP)

    with pytest.raises(SessionCompromised) as compromised:
        await world.refresh(tokens, PHONE)

    assert compromised.value.outcome is RotationOutcome.AGENT_CHANGED
    assert await world.sessions(ada) == []


async def test_an_update_of_the_browser_or_another_network_logs_no_user_out(world: World) -> None:
    _, tokens = await world.log_in_as(await world.given(a_user()), LAPTOP)

    await world.refresh(tokens, LAPTOP_AFTER_AN_UPDATE)


async def test_a_strict_binding_wants_exactly_the_same_agent() -> None:
    strict = SessionSettings(agent_binding=AgentBinding.STRICT)
    world = World(replace(IN_MEMORY, sessions=strict))
    _, tokens = await world.log_in_as(await world.given(a_user()), LAPTOP)
    tokens = await world.refresh(tokens, LAPTOP)

    with pytest.raises(SessionCompromised):
        await world.refresh(tokens, LAPTOP_AFTER_AN_UPDATE)


async def test_the_answer_to_a_copied_token_says_only_that_it_is_not_valid(
    world: World,
) -> None:
    _, tokens = await world.log_in_as(await world.given(a_user()), LAPTOP)
    with pytest.raises(SessionCompromised) as compromised:
        await world.refresh(tokens, PHONE)
    with pytest.raises(InvalidToken) as invalid:
        await world.refresh(tokens, PHONE)

    assert compromised.value.detail == invalid.value.detail


async def test_a_disabled_user_gets_no_new_tokens_and_loses_the_session(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    await world.change(ada, status=UserStatus.DISABLED)

    with pytest.raises(InvalidToken):
        await world.refresh(tokens)

    await world.change(ada, status=UserStatus.ACTIVE)
    assert await world.sessions(ada) == []


async def test_a_user_who_is_gone_gets_no_new_tokens(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    del world.store.users[ada.id]

    with pytest.raises(InvalidToken):
        await world.refresh(tokens)


async def test_a_session_that_was_ended_stays_ended_without_an_alarm(world: World) -> None:
    ada = await world.given(a_user())
    caller, tokens = await world.log_in_as(ada)
    await world.container.log_out_everywhere()(caller)

    with pytest.raises(InvalidToken):
        await world.refresh(tokens)


async def test_a_session_ends_when_it_is_not_refreshed_for_a_week(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    await world.pass_time(days=6, hours=23)
    tokens = await world.refresh(tokens)
    await world.pass_time(days=7)

    with pytest.raises(InvalidToken):
        await world.refresh(tokens)
    assert await world.sessions(ada) == []


async def test_no_refresh_moves_the_absolute_end_of_a_session(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    for _ in range(5):
        await world.pass_time(days=5)
        tokens = await world.refresh(tokens)
    assert tokens.refresh_expires_in == 5 * 86400

    await world.pass_time(days=4, hours=23, minutes=59)
    tokens = await world.refresh(tokens)

    assert (tokens.expires_in, tokens.refresh_expires_in) == (60, 60)
    await world.pass_time(seconds=60)
    for rejected in (world.refresh(tokens), world.authenticate(tokens)):
        with pytest.raises(InvalidToken):
            await rejected


async def test_rotations_of_a_session_are_limited_and_retries_are_free(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    for _ in range(59):
        tokens = await world.refresh(tokens)
    previous, tokens = tokens, await world.refresh(tokens)

    for _ in range(10):
        assert (await world.refresh(previous)).refresh_token == tokens.refresh_token
    with pytest.raises(Throttled) as throttled:
        await world.refresh(tokens)
    assert throttled.value.retry_after == timedelta(seconds=1)

    await world.pass_time(seconds=1)
    await world.refresh(tokens)


async def test_one_session_that_is_throttled_is_no_obstacle_for_another(world: World) -> None:
    ada = await world.given(a_user())
    _, tokens = await world.log_in_as(ada)
    _, others = await world.log_in_as(ada, PHONE)
    for _ in range(60):
        tokens = await world.refresh(tokens)
    with pytest.raises(Throttled):
        await world.refresh(tokens)

    await world.refresh(others, PHONE)


@pytest.mark.parametrize("token", ["", "garbage", "a.b.c"])
async def test_a_foreign_token_is_refused(world: World, token: str) -> None:
    with pytest.raises(InvalidToken):
        await world.container.refresh_session()(token, LAPTOP)
    with pytest.raises(InvalidToken):
        await world.container.guard()(token, LAPTOP)


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(world: World) -> None:
    _, tokens = await world.log_in_as(await world.given(a_user()))
    swapped = TokenPair(
        access_token=tokens.refresh_token,
        refresh_token=tokens.access_token,
        expires_in=0,
        refresh_expires_in=0,
    )
    with pytest.raises(InvalidToken):
        await world.refresh(swapped)
    with pytest.raises(InvalidToken):
        await world.authenticate(swapped)
