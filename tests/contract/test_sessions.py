"""What `SessionStore` promises, kept by memory and by Redis."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from adapters.memory.sessions import MemorySessionStore
from adapters.redis.sessions import RedisSessionStore
from application.ports.sessions import SessionStore
from application.settings import Limit
from domain.identity import UserId
from domain.sessions import Rotation, RotationOutcome, Session, TokenId
from tests.fakes.backend import Backend
from tests.fakes.builders import A_MOMENT
from tests.fakes.clock import MovableClock
from tests.fakes.sessions import (
    ABSOLUTE,
    ADA,
    CHROME,
    FIREFOX,
    GRACE,
    GRACE_HOPPER,
    IDLE,
    a_session,
    a_token_id,
    token_of,
)

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
LIMIT = Limit(60, 60)


@dataclass(slots=True)
class World:
    """The store under test, and what clients of it do."""

    store: SessionStore
    clock: MovableClock

    async def log_in(
        self, user_id: UserId = ADA, *, cap: int = 20, ends_after: timedelta = ABSOLUTE
    ) -> Session:
        opened = await self.store.open(
            a_session(user_id=user_id), idle=IDLE, absolute=ends_after, cap=cap
        )
        return opened.session

    async def refresh(
        self,
        holder: Session,
        *,
        fingerprint: str = FIREFOX,
        grace: timedelta = GRACE,
        limit: Limit = LIMIT,
        successor: TokenId | None = None,
        valid_from: datetime = A_MOMENT,
    ) -> Rotation:
        """Show the token that whoever holds `holder` got last."""
        return await self.store.rotate(
            token_of(holder),
            successor=successor or a_token_id(),
            fingerprint=fingerprint,
            valid_from=valid_from,
            idle=IDLE,
            grace=grace,
            limit=limit,
        )

    async def refreshed(self, holder: Session, limit: Limit = LIMIT) -> Session:
        """Return what the holder of `holder` holds after a refresh."""
        rotation = await self.refresh(holder, limit=limit)
        assert rotation.outcome is RotationOutcome.ROTATED
        assert rotation.session is not None
        return rotation.session

    async def is_alive(self, session: Session) -> bool:
        return await self.store.find(session.user_id, session.id) is not None


@pytest.fixture
def world(backend: Backend) -> World:
    redis, clock = backend.timed_redis, backend.clock
    return World(RedisSessionStore(redis) if redis else MemorySessionStore(clock), clock)


# --- opening, finding, listing ------------------------------------------------------------------


async def test_an_open_session_is_found_as_it_was_opened(world: World) -> None:
    session = await world.log_in()
    assert await world.store.find(ADA, session.id) == session


async def test_the_store_says_when_a_session_was_opened_in_whole_seconds(world: World) -> None:
    await world.clock.pass_time(timedelta(days=1, microseconds=123_457))
    at = A_MOMENT + DAY

    opened = await world.store.open(a_session(), idle=IDLE, absolute=30 * DAY, cap=20)

    assert opened.session == replace(
        opened.session, created_at=at, token_issued_at=at, last_seen_at=at, ends_at=at + 30 * DAY
    )


async def test_nothing_is_lost_of_what_an_agent_says_or_of_a_microsecond(world: World) -> None:
    odd = replace(
        a_session(),
        agent='"кот" \u00fc\x00\r\n\U0001f600',
        address="",
        valid_from=A_MOMENT + timedelta(microseconds=123_457),
    )
    await world.store.open(odd, idle=IDLE, absolute=ABSOLUTE, cap=20)
    assert await world.store.find(ADA, odd.id) == odd


async def test_a_session_that_was_never_opened_is_not_found(world: World) -> None:
    assert await world.store.find(ADA, a_session().id) is None


async def test_a_session_is_found_for_its_user_alone(world: World) -> None:
    session = await world.log_in(ADA)
    assert await world.store.find(GRACE_HOPPER, session.id) is None
    assert list(await world.store.of_user(GRACE_HOPPER)) == []
    assert not await world.store.end(GRACE_HOPPER, session.id)
    assert await world.is_alive(session)


async def test_opening_a_session_again_changes_nothing(world: World) -> None:
    """Whoever got no answer may ask again."""
    session = await world.log_in()
    await world.clock.pass_time(SECOND)
    again = await world.store.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
    assert again.session == session
    assert list(await world.store.of_user(ADA)) == [session]


async def test_sessions_are_listed_the_most_recently_opened_first(world: World) -> None:
    first = await world.log_in()
    await world.clock.pass_time(SECOND)
    second = await world.log_in()
    third = await world.log_in()
    await world.clock.pass_time(SECOND)
    first = await world.refreshed(first)
    await world.log_in(GRACE_HOPPER)
    assert list(await world.store.of_user(ADA)) == [third, second, first]


async def test_beyond_the_cap_the_oldest_session_ends(world: World) -> None:
    opened = []
    for _ in range(5):
        opened.append(await world.log_in(cap=3))
        await world.clock.pass_time(SECOND)
    assert list(await world.store.of_user(ADA)) == opened[:1:-1]
    assert [await world.is_alive(session) for session in opened] == [False, False, True, True, True]
    assert (await world.refresh(opened[0])).outcome is RotationOutcome.UNKNOWN


async def test_the_cap_counts_neither_sessions_that_are_over_nor_those_of_others(
    world: World,
) -> None:
    ada = await world.log_in(cap=2)
    await world.log_in(cap=2, ends_after=DAY)
    await world.log_in(GRACE_HOPPER, cap=2)
    await world.clock.pass_time(2 * DAY)
    newest = await world.log_in(cap=2)
    assert list(await world.store.of_user(ADA)) == [newest, ada]


async def test_whoever_opens_a_session_learns_which_ended_for_it(world: World) -> None:
    one, two = await world.log_in(), await world.log_in()
    third = await world.store.open(a_session(), idle=IDLE, absolute=ABSOLUTE, cap=3)
    assert list(third.ended) == []
    fourth = await world.store.open(a_session(), idle=IDLE, absolute=ABSOLUTE, cap=2)
    assert {*fourth.ended} == {one.id, two.id}


async def test_a_lower_cap_holds_from_the_next_log_in_on(world: World) -> None:
    for _ in range(4):
        await world.log_in(cap=20)
    newest = await world.log_in(cap=1)
    assert list(await world.store.of_user(ADA)) == [newest]


# --- the end of a session -----------------------------------------------------------------------


async def test_a_session_ends_when_it_is_idle_for_too_long(world: World) -> None:
    session = await world.log_in()
    await world.clock.pass_time(IDLE - 60 * SECOND)
    assert await world.is_alive(session)
    await world.clock.pass_time(60 * SECOND)
    assert not await world.is_alive(session)
    assert list(await world.store.of_user(ADA)) == []
    assert (await world.refresh(session)).outcome is RotationOutcome.UNKNOWN
    assert not await world.store.end(ADA, session.id)


async def test_a_rotation_starts_the_idle_time_anew_but_never_moves_the_absolute_end(
    world: World,
) -> None:
    opened = session = await world.log_in()
    for _ in range(5):
        await world.clock.pass_time(6 * DAY - 60 * SECOND)
        session = await world.refreshed(session)
        assert session.ends_at == opened.ends_at
        assert list(await world.store.of_user(ADA)) == [session]
    await world.clock.pass_time(4 * 60 * SECOND)
    assert await world.is_alive(session)
    await world.clock.pass_time(60 * SECOND)
    assert not await world.is_alive(session)
    assert (await world.refresh(session)).outcome is RotationOutcome.UNKNOWN


async def test_a_repeated_refresh_does_not_prolong_the_session(world: World) -> None:
    session = await world.log_in()
    await world.refreshed(session)
    await world.clock.pass_time(9 * SECOND)
    assert (await world.refresh(session)).outcome is RotationOutcome.REPEATED
    await world.clock.pass_time(IDLE - 9 * SECOND)
    assert not await world.is_alive(session)


async def test_a_session_is_ended_once(world: World) -> None:
    session, other = await world.log_in(), await world.log_in()
    assert await world.store.end(ADA, session.id)
    assert not await world.store.end(ADA, session.id)
    assert not await world.is_alive(session)
    assert list(await world.store.of_user(ADA)) == [other]
    assert (await world.refresh(session)).outcome is RotationOutcome.UNKNOWN


async def test_all_sessions_of_a_user_are_ended_but_the_one_to_keep(world: World) -> None:
    phone, laptop, tablet = [await world.log_in() for _ in range(3)]
    hers = await world.log_in(GRACE_HOPPER)
    later = A_MOMENT + SECOND
    assert await world.store.end_others(ADA, keep=laptop.id, valid_from=later) == 2
    laptop = replace(laptop, valid_from=later)
    assert list(await world.store.of_user(ADA)) == [laptop]
    assert (await world.refresh(phone)).outcome is RotationOutcome.UNKNOWN
    assert (await world.refresh(laptop, valid_from=later)).outcome is RotationOutcome.ROTATED
    assert await world.store.end_all(ADA) == 1
    assert await world.store.end_all(ADA) == 0
    assert not await world.is_alive(tablet)
    assert await world.is_alive(hers)


async def test_a_session_that_is_to_be_kept_is_not_thereby_revived(world: World) -> None:
    session, other = await world.log_in(), await world.log_in()
    await world.store.end(ADA, session.id)
    assert await world.store.end_others(ADA, keep=session.id, valid_from=A_MOMENT) == 1
    assert not await world.is_alive(session)
    assert not await world.is_alive(other)
    assert list(await world.store.of_user(ADA)) == []


async def test_a_session_from_before_its_user_ended_all_is_over_without_alarm(
    world: World,
) -> None:
    """Whatever its store was told: the moment comes from where users are kept."""
    session, other = await world.log_in(), await world.log_in()
    later = A_MOMENT + timedelta(microseconds=1)
    refused = await world.refresh(session, valid_from=later)
    assert refused == Rotation(outcome=RotationOutcome.UNKNOWN)
    assert not await world.is_alive(session)
    assert await world.is_alive(other)


async def test_a_session_that_is_over_is_not_counted_among_the_ended(world: World) -> None:
    await world.log_in(ends_after=DAY)
    await world.log_in()
    await world.clock.pass_time(2 * DAY)
    assert await world.store.end_all(ADA) == 1


# --- rotation -----------------------------------------------------------------------------------


async def test_the_current_token_is_replaced_by_its_successor(world: World) -> None:
    session = await world.log_in()
    await world.clock.pass_time(timedelta(minutes=9, microseconds=250_000))
    successor = a_token_id()

    rotation = await world.refresh(session, successor=successor)

    now = world.clock.now()
    expected = replace(
        session, token_id=successor, token_issued_at=now.replace(microsecond=0), last_seen_at=now
    )
    assert rotation == Rotation(outcome=RotationOutcome.ROTATED, session=expected)
    assert await world.store.find(ADA, session.id) == expected
    assert (await world.refresh(expected)).outcome is RotationOutcome.ROTATED


async def test_the_previous_token_gets_the_same_successor_again_within_the_grace_period(
    world: World,
) -> None:
    session = await world.log_in()
    successor = await world.refreshed(session)
    for _ in range(3):
        await world.clock.pass_time(3 * SECOND)
        repeated = await world.refresh(session)
        assert repeated == Rotation(outcome=RotationOutcome.REPEATED, session=successor)
    await world.refreshed(successor)


async def test_after_the_grace_period_the_previous_token_is_reuse_and_ends_the_session(
    world: World,
) -> None:
    session = await world.log_in()
    successor = await world.refreshed(session)
    await world.clock.pass_time(GRACE)
    assert await world.refresh(session) == Rotation(outcome=RotationOutcome.REUSED)
    assert not await world.is_alive(session)
    assert (await world.refresh(successor)).outcome is RotationOutcome.UNKNOWN


async def test_an_older_token_is_reuse_even_within_the_grace_period(world: World) -> None:
    session = await world.log_in()
    await world.refreshed(await world.refreshed(session))
    assert (await world.refresh(session)).outcome is RotationOutcome.REUSED
    assert not await world.is_alive(session)


async def test_reuse_ends_the_session_of_the_token_and_no_other(world: World) -> None:
    stolen, other = await world.log_in(), await world.log_in()
    await world.refreshed(await world.refreshed(stolen))
    await world.refresh(stolen)
    assert list(await world.store.of_user(ADA)) == [other]


async def test_without_a_grace_period_the_previous_token_is_reuse_at_once(world: World) -> None:
    session = await world.log_in()
    await world.refreshed(session)
    rotation = await world.refresh(session, grace=timedelta(0))
    assert rotation.outcome is RotationOutcome.REUSED


async def test_the_very_call_whose_answer_was_lost_is_repeated_whatever_the_grace_period(
    world: World,
) -> None:
    session = await world.log_in()
    successor = a_token_id()
    lost = await world.refresh(session, successor=successor, grace=timedelta(0))
    again = await world.refresh(session, successor=successor, grace=timedelta(0))
    assert again == Rotation(outcome=RotationOutcome.REPEATED, session=lost.session)


async def test_another_kind_of_device_ends_the_session(world: World) -> None:
    session = await world.log_in()
    rotation = await world.refresh(session, fingerprint=CHROME)
    assert rotation == Rotation(outcome=RotationOutcome.AGENT_CHANGED)
    assert not await world.is_alive(session)


async def test_the_grace_period_is_for_the_same_kind_of_device(world: World) -> None:
    session = await world.log_in()
    await world.refreshed(session)
    rotation = await world.refresh(session, fingerprint=CHROME)
    assert rotation.outcome is RotationOutcome.AGENT_CHANGED
    assert not await world.is_alive(session)


async def test_the_token_of_an_unknown_session_raises_no_alarm(world: World) -> None:
    session = await world.log_in()
    stranger = replace(session, id=a_session().id)
    assert await world.refresh(stranger) == Rotation(outcome=RotationOutcome.UNKNOWN)
    assert await world.is_alive(session)


async def test_a_store_that_went_back_in_time_logs_out_without_alarm(world: World) -> None:
    """The client holds a token later than all that the store knows of; what the store knows was used up long ago."""
    before = await world.log_in()
    later = replace(
        before,
        token_id=a_token_id(),
        token_issued_at=before.token_issued_at + timedelta(minutes=10),
    )
    assert await world.refresh(later) == Rotation(outcome=RotationOutcome.UNKNOWN)
    assert not await world.is_alive(before)
    assert (await world.refresh(before)).outcome is RotationOutcome.UNKNOWN


async def test_a_successor_is_never_issued_before_its_predecessor(world: World) -> None:
    """A clock is set back; an older token must still be known as older."""
    session = await world.log_in()
    await world.clock.pass_time(timedelta(minutes=10))
    ahead = await world.refreshed(session)
    await world.clock.pass_time(-5 * SECOND)
    behind = await world.refreshed(ahead)
    assert behind.token_issued_at == ahead.token_issued_at
    assert (await world.refresh(session)).outcome is RotationOutcome.REUSED


async def test_of_many_refreshes_of_one_token_one_rotates_and_all_get_the_same_successor(
    world: World,
) -> None:
    session = await world.log_in()
    rotations = await asyncio.gather(*(world.refresh(session) for _ in range(50)))
    outcomes = [rotation.outcome for rotation in rotations]
    assert outcomes.count(RotationOutcome.ROTATED) == 1
    assert outcomes.count(RotationOutcome.REPEATED) == 49
    assert {rotation.session for rotation in rotations} == {await world.store.find(ADA, session.id)}


# --- the limit on rotations ---------------------------------------------------------------------


async def test_rotations_beyond_the_limit_are_refused_and_change_nothing(world: World) -> None:
    limit = Limit(3, 60)
    session = await world.log_in()
    for _ in range(3):
        session = await world.refreshed(session, limit)
    await world.clock.pass_time(5 * SECOND)

    refused = await world.refresh(session, limit=limit)

    assert refused == Rotation(outcome=RotationOutcome.THROTTLED, retry_after=15 * SECOND)
    assert await world.store.find(ADA, session.id) == session
    await world.clock.pass_time(15 * SECOND)
    await world.refreshed(session, limit)


async def test_a_repeated_refresh_costs_nothing(world: World) -> None:
    limit = Limit(2, 60)
    session = await world.log_in()
    successor = await world.refreshed(session, limit)
    for _ in range(20):
        assert (await world.refresh(session, limit=limit)).outcome is RotationOutcome.REPEATED
    last = await world.refreshed(successor, limit)
    assert (await world.refresh(last, limit=limit)).outcome is RotationOutcome.THROTTLED
    assert (await world.refresh(successor, limit=limit)).outcome is RotationOutcome.REPEATED


async def test_each_session_has_a_limit_of_its_own(world: World) -> None:
    limit = Limit(1, 60)
    phone, laptop = await world.log_in(), await world.log_in()
    await world.refreshed(phone, limit)
    await world.refreshed(laptop, limit)
