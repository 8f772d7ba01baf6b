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
from tests.support.builders import A_MOMENT
from tests.support.clock import DAY, SECOND, MovableClock
from tests.support.redis_clock import Backend
from tests.support.sessions import (
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

ON_A_CLUSTER = True

LIMIT = Limit(60, 60)


@dataclass(slots=True)
class SessionsHarness:
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
        """Show the token that the holder of `holder` got last."""
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
def harness(backend: Backend) -> SessionsHarness:
    redis, clock = backend.timed_redis, backend.clock
    return SessionsHarness(RedisSessionStore(redis) if redis else MemorySessionStore(clock), clock)


# --- opening, finding, listing ------------------------------------------------------------------


async def test_an_open_session_is_found_as_it_was_opened(harness: SessionsHarness) -> None:
    session = await harness.log_in()
    assert await harness.store.find(ADA, session.id) == session


async def test_the_store_says_when_a_session_was_opened_in_whole_seconds(
    harness: SessionsHarness,
) -> None:
    await harness.clock.pass_time(timedelta(days=1, microseconds=123_457))
    at = A_MOMENT + DAY

    opened = await harness.store.open(a_session(), idle=IDLE, absolute=30 * DAY, cap=20)

    assert opened.session == replace(
        opened.session, created_at=at, token_issued_at=at, last_seen_at=at, ends_at=at + 30 * DAY
    )


async def test_nothing_is_lost_of_what_an_agent_says_or_of_a_microsecond(
    harness: SessionsHarness,
) -> None:
    odd = replace(
        a_session(),
        agent='"кот" \u00fc\x00\r\n\U0001f600',
        address="",
        valid_from=A_MOMENT + timedelta(microseconds=123_457),
    )
    await harness.store.open(odd, idle=IDLE, absolute=ABSOLUTE, cap=20)
    assert await harness.store.find(ADA, odd.id) == odd


async def test_a_session_that_was_never_opened_is_not_found(harness: SessionsHarness) -> None:
    assert await harness.store.find(ADA, a_session().id) is None


async def test_a_session_is_found_for_its_user_alone(harness: SessionsHarness) -> None:
    session = await harness.log_in(ADA)
    assert await harness.store.find(GRACE_HOPPER, session.id) is None
    assert list(await harness.store.of_user(GRACE_HOPPER)) == []
    assert not await harness.store.end(GRACE_HOPPER, session.id)
    assert await harness.is_alive(session)


async def test_opening_a_session_again_changes_nothing(harness: SessionsHarness) -> None:
    """A client that got no answer may ask again."""
    session = await harness.log_in()
    await harness.clock.pass_time(SECOND)
    again = await harness.store.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
    assert again.session == session
    assert list(await harness.store.of_user(ADA)) == [session]


async def test_sessions_are_listed_the_most_recently_opened_first(harness: SessionsHarness) -> None:
    first = await harness.log_in()
    await harness.clock.pass_time(SECOND)
    second = await harness.log_in()
    third = await harness.log_in()
    await harness.clock.pass_time(SECOND)
    first = await harness.refreshed(first)
    await harness.log_in(GRACE_HOPPER)
    assert list(await harness.store.of_user(ADA)) == [third, second, first]


async def test_beyond_the_cap_the_oldest_session_ends(harness: SessionsHarness) -> None:
    opened = []
    for _ in range(5):
        opened.append(await harness.log_in(cap=3))
        await harness.clock.pass_time(SECOND)
    assert list(await harness.store.of_user(ADA)) == opened[:1:-1]
    assert [await harness.is_alive(session) for session in opened] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert (await harness.refresh(opened[0])).outcome is RotationOutcome.UNKNOWN


async def test_the_cap_counts_neither_sessions_that_are_over_nor_those_of_others(
    harness: SessionsHarness,
) -> None:
    ada = await harness.log_in(cap=2)
    await harness.log_in(cap=2, ends_after=DAY)
    await harness.log_in(GRACE_HOPPER, cap=2)
    await harness.clock.pass_time(2 * DAY)
    newest = await harness.log_in(cap=2)
    assert list(await harness.store.of_user(ADA)) == [newest, ada]


async def test_opening_a_session_returns_the_sessions_that_ended_for_it(
    harness: SessionsHarness,
) -> None:
    one, two = await harness.log_in(), await harness.log_in()
    third = await harness.store.open(a_session(), idle=IDLE, absolute=ABSOLUTE, cap=3)
    assert list(third.ended) == []
    fourth = await harness.store.open(a_session(), idle=IDLE, absolute=ABSOLUTE, cap=2)
    assert {*fourth.ended} == {one.id, two.id}


async def test_a_lower_cap_holds_from_the_next_log_in_on(harness: SessionsHarness) -> None:
    for _ in range(4):
        await harness.log_in(cap=20)
    newest = await harness.log_in(cap=1)
    assert list(await harness.store.of_user(ADA)) == [newest]


# --- the end of a session -----------------------------------------------------------------------


async def test_a_session_ends_when_it_is_idle_for_too_long(harness: SessionsHarness) -> None:
    session = await harness.log_in()
    await harness.clock.pass_time(IDLE - 60 * SECOND)
    assert await harness.is_alive(session)
    await harness.clock.pass_time(60 * SECOND)
    assert not await harness.is_alive(session)
    assert list(await harness.store.of_user(ADA)) == []
    assert (await harness.refresh(session)).outcome is RotationOutcome.UNKNOWN
    assert not await harness.store.end(ADA, session.id)


async def test_a_rotation_starts_the_idle_time_anew_but_never_moves_the_absolute_end(
    harness: SessionsHarness,
) -> None:
    opened = session = await harness.log_in()
    for _ in range(5):
        await harness.clock.pass_time(6 * DAY - 60 * SECOND)
        session = await harness.refreshed(session)
        assert session.ends_at == opened.ends_at
        assert list(await harness.store.of_user(ADA)) == [session]
    await harness.clock.pass_time(4 * 60 * SECOND)
    assert await harness.is_alive(session)
    await harness.clock.pass_time(60 * SECOND)
    assert not await harness.is_alive(session)
    assert (await harness.refresh(session)).outcome is RotationOutcome.UNKNOWN


async def test_a_repeated_refresh_does_not_prolong_the_session(harness: SessionsHarness) -> None:
    session = await harness.log_in()
    await harness.refreshed(session)
    await harness.clock.pass_time(9 * SECOND)
    assert (await harness.refresh(session)).outcome is RotationOutcome.REPEATED
    await harness.clock.pass_time(IDLE - 9 * SECOND)
    assert not await harness.is_alive(session)


async def test_a_session_is_ended_once(harness: SessionsHarness) -> None:
    session, other = await harness.log_in(), await harness.log_in()
    assert await harness.store.end(ADA, session.id)
    assert not await harness.store.end(ADA, session.id)
    assert not await harness.is_alive(session)
    assert list(await harness.store.of_user(ADA)) == [other]
    assert (await harness.refresh(session)).outcome is RotationOutcome.UNKNOWN


async def test_all_sessions_of_a_user_are_ended_but_the_one_to_keep(
    harness: SessionsHarness,
) -> None:
    phone, laptop, tablet = [await harness.log_in() for _ in range(3)]
    hers = await harness.log_in(GRACE_HOPPER)
    later = A_MOMENT + SECOND
    assert await harness.store.end_others(ADA, keep=laptop.id, valid_from=later) == 2
    laptop = replace(laptop, valid_from=later)
    assert list(await harness.store.of_user(ADA)) == [laptop]
    assert (await harness.refresh(phone)).outcome is RotationOutcome.UNKNOWN
    assert (await harness.refresh(laptop, valid_from=later)).outcome is RotationOutcome.ROTATED
    assert await harness.store.end_all(ADA) == 1
    assert await harness.store.end_all(ADA) == 0
    assert not await harness.is_alive(tablet)
    assert await harness.is_alive(hers)


async def test_a_session_that_is_to_be_kept_is_not_thereby_revived(
    harness: SessionsHarness,
) -> None:
    session, other = await harness.log_in(), await harness.log_in()
    await harness.store.end(ADA, session.id)
    assert await harness.store.end_others(ADA, keep=session.id, valid_from=A_MOMENT) == 1
    assert not await harness.is_alive(session)
    assert not await harness.is_alive(other)
    assert list(await harness.store.of_user(ADA)) == []


async def test_a_session_from_before_its_user_ended_all_is_over_without_alarm(
    harness: SessionsHarness,
) -> None:
    """The moment comes from the users, not from the store of sessions."""
    session, other = await harness.log_in(), await harness.log_in()
    later = A_MOMENT + timedelta(microseconds=1)
    refused = await harness.refresh(session, valid_from=later)
    assert refused == Rotation(outcome=RotationOutcome.UNKNOWN)
    assert not await harness.is_alive(session)
    assert await harness.is_alive(other)


async def test_a_session_that_is_over_is_not_counted_among_the_ended(
    harness: SessionsHarness,
) -> None:
    await harness.log_in(ends_after=DAY)
    await harness.log_in()
    await harness.clock.pass_time(2 * DAY)
    assert await harness.store.end_all(ADA) == 1


# --- rotation -----------------------------------------------------------------------------------


async def test_the_current_token_is_replaced_by_its_successor(harness: SessionsHarness) -> None:
    session = await harness.log_in()
    await harness.clock.pass_time(timedelta(minutes=9, microseconds=250_000))
    successor = a_token_id()

    rotation = await harness.refresh(session, successor=successor)

    now = harness.clock.now()
    expected = replace(
        session, token_id=successor, token_issued_at=now.replace(microsecond=0), last_seen_at=now
    )
    assert rotation == Rotation(outcome=RotationOutcome.ROTATED, session=expected)
    assert await harness.store.find(ADA, session.id) == expected
    assert (await harness.refresh(expected)).outcome is RotationOutcome.ROTATED


async def test_the_previous_token_gets_the_same_successor_again_within_the_grace_period(
    harness: SessionsHarness,
) -> None:
    session = await harness.log_in()
    successor = await harness.refreshed(session)
    for _ in range(3):
        await harness.clock.pass_time(3 * SECOND)
        repeated = await harness.refresh(session)
        assert repeated == Rotation(outcome=RotationOutcome.REPEATED, session=successor)
    await harness.refreshed(successor)


async def test_after_the_grace_period_the_previous_token_is_reuse_and_ends_the_session(
    harness: SessionsHarness,
) -> None:
    session = await harness.log_in()
    successor = await harness.refreshed(session)
    await harness.clock.pass_time(GRACE)
    assert await harness.refresh(session) == Rotation(outcome=RotationOutcome.REUSED)
    assert not await harness.is_alive(session)
    assert (await harness.refresh(successor)).outcome is RotationOutcome.UNKNOWN


async def test_an_older_token_is_reuse_even_within_the_grace_period(
    harness: SessionsHarness,
) -> None:
    session = await harness.log_in()
    await harness.refreshed(await harness.refreshed(session))
    assert (await harness.refresh(session)).outcome is RotationOutcome.REUSED
    assert not await harness.is_alive(session)


async def test_reuse_ends_the_session_of_the_token_and_no_other(harness: SessionsHarness) -> None:
    stolen, other = await harness.log_in(), await harness.log_in()
    await harness.refreshed(await harness.refreshed(stolen))
    await harness.refresh(stolen)
    assert list(await harness.store.of_user(ADA)) == [other]


async def test_without_a_grace_period_the_previous_token_is_reuse_at_once(
    harness: SessionsHarness,
) -> None:
    session = await harness.log_in()
    await harness.refreshed(session)
    rotation = await harness.refresh(session, grace=timedelta(0))
    assert rotation.outcome is RotationOutcome.REUSED


async def test_a_call_whose_answer_was_lost_can_be_repeated_with_any_grace_period(
    harness: SessionsHarness,
) -> None:
    session = await harness.log_in()
    successor = a_token_id()
    lost = await harness.refresh(session, successor=successor, grace=timedelta(0))
    again = await harness.refresh(session, successor=successor, grace=timedelta(0))
    assert again == Rotation(outcome=RotationOutcome.REPEATED, session=lost.session)


async def test_another_kind_of_device_ends_the_session(harness: SessionsHarness) -> None:
    session = await harness.log_in()
    rotation = await harness.refresh(session, fingerprint=CHROME)
    assert rotation == Rotation(outcome=RotationOutcome.AGENT_CHANGED)
    assert not await harness.is_alive(session)


async def test_the_grace_period_is_for_the_same_kind_of_device(harness: SessionsHarness) -> None:
    session = await harness.log_in()
    await harness.refreshed(session)
    rotation = await harness.refresh(session, fingerprint=CHROME)
    assert rotation.outcome is RotationOutcome.AGENT_CHANGED
    assert not await harness.is_alive(session)


async def test_the_token_of_an_unknown_session_raises_no_alarm(harness: SessionsHarness) -> None:
    session = await harness.log_in()
    stranger = replace(session, id=a_session().id)
    assert await harness.refresh(stranger) == Rotation(outcome=RotationOutcome.UNKNOWN)
    assert await harness.is_alive(session)


async def test_a_store_that_went_back_in_time_logs_out_without_alarm(
    harness: SessionsHarness,
) -> None:
    """The client holds a token later than all that the store knows of; what the store knows was used up long ago."""
    before = await harness.log_in()
    later = replace(
        before,
        token_id=a_token_id(),
        token_issued_at=before.token_issued_at + timedelta(minutes=10),
    )
    assert await harness.refresh(later) == Rotation(outcome=RotationOutcome.UNKNOWN)
    assert not await harness.is_alive(before)
    assert (await harness.refresh(before)).outcome is RotationOutcome.UNKNOWN


async def test_a_successor_is_never_issued_before_its_predecessor(harness: SessionsHarness) -> None:
    """A clock is set back; an older token must still be known as older."""
    session = await harness.log_in()
    await harness.clock.pass_time(timedelta(minutes=10))
    ahead = await harness.refreshed(session)
    await harness.clock.pass_time(-5 * SECOND)
    behind = await harness.refreshed(ahead)
    assert behind.token_issued_at == ahead.token_issued_at
    assert (await harness.refresh(session)).outcome is RotationOutcome.REUSED


async def test_of_many_refreshes_of_one_token_one_rotates_and_all_get_the_same_successor(
    harness: SessionsHarness,
) -> None:
    session = await harness.log_in()
    rotations = await asyncio.gather(*(harness.refresh(session) for _ in range(50)))
    outcomes = [rotation.outcome for rotation in rotations]
    assert outcomes.count(RotationOutcome.ROTATED) == 1
    assert outcomes.count(RotationOutcome.REPEATED) == 49
    assert {rotation.session for rotation in rotations} == {
        await harness.store.find(ADA, session.id)
    }


# --- the limit on rotations ---------------------------------------------------------------------


async def test_rotations_beyond_the_limit_are_refused_and_change_nothing(
    harness: SessionsHarness,
) -> None:
    limit = Limit(3, 60)
    session = await harness.log_in()
    for _ in range(3):
        session = await harness.refreshed(session, limit)
    await harness.clock.pass_time(5 * SECOND)

    refused = await harness.refresh(session, limit=limit)

    assert refused == Rotation(outcome=RotationOutcome.THROTTLED, retry_after=15 * SECOND)
    assert await harness.store.find(ADA, session.id) == session
    await harness.clock.pass_time(15 * SECOND)
    await harness.refreshed(session, limit)


async def test_a_repeated_refresh_costs_nothing(harness: SessionsHarness) -> None:
    limit = Limit(2, 60)
    session = await harness.log_in()
    successor = await harness.refreshed(session, limit)
    for _ in range(20):
        assert (await harness.refresh(session, limit=limit)).outcome is RotationOutcome.REPEATED
    last = await harness.refreshed(successor, limit)
    assert (await harness.refresh(last, limit=limit)).outcome is RotationOutcome.THROTTLED
    assert (await harness.refresh(successor, limit=limit)).outcome is RotationOutcome.REPEATED


async def test_each_session_has_a_limit_of_its_own(harness: SessionsHarness) -> None:
    limit = Limit(1, 60)
    phone, laptop = await harness.log_in(), await harness.log_in()
    await harness.refreshed(phone, limit)
    await harness.refreshed(laptop, limit)
