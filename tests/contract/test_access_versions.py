"""What `AccessVersions` promises, kept by memory and by Redis."""

import asyncio
from dataclasses import dataclass

import pytest

from adapters.memory.access_versions import MemoryAccessVersions
from adapters.memory.sessions import MemorySessionStore
from adapters.redis.access_versions import RedisAccessVersions, RedisClusterAccessVersions
from adapters.redis.cluster import RedisClusterClient
from adapters.redis.sessions import RedisSessionStore
from application.ports.access_versions import DIRTY_TTL, AccessSnapshot, AccessVersions, Change
from application.ports.sessions import SessionStore
from domain.identity import UserId
from domain.sessions import Session
from tests.support.builders import a_uuid
from tests.support.clock import SECOND, MovableClock
from tests.support.redis_clock import Backend
from tests.support.sessions import ABSOLUTE, ADA, GRACE_HOPPER, IDLE, a_session

ON_A_CLUSTER = True


@dataclass(slots=True)
class VersionsHarness:
    """The versions under test, and a living session of each user."""

    versions: AccessVersions
    sessions: SessionStore
    clock: MovableClock
    session_of: dict[UserId, Session]

    async def fetch(self, user_id: UserId = ADA) -> AccessSnapshot:
        return await self.versions.fetch(user_id, self.session_of[user_id].id)

    def change(self, *user_ids: UserId, everyone: bool = False) -> Change:
        """Return a change that has not begun."""
        return Change(id=a_uuid(), user_ids=user_ids, everyone=everyone)

    async def begun(self, *user_ids: UserId, everyone: bool = False) -> Change:
        change = self.change(*user_ids, everyone=everyone)
        await self.versions.mark_dirty(change)
        return change


@pytest.fixture
async def harness(backend: Backend) -> VersionsHarness:
    sessions: SessionStore
    versions: AccessVersions
    if isinstance(backend.redis, RedisClusterClient):
        sessions = RedisSessionStore(backend.redis)
        versions = RedisClusterAccessVersions(backend.redis)
    elif backend.redis:
        sessions, versions = RedisSessionStore(backend.redis), RedisAccessVersions(backend.redis)
    else:
        sessions = MemorySessionStore(backend.clock)
        versions = MemoryAccessVersions(sessions, backend.clock)
    session_of = {user_id: a_session(user_id=user_id) for user_id in (ADA, GRACE_HOPPER)}
    for session in session_of.values():
        await sessions.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
    harness = VersionsHarness(versions, sessions, backend.clock, session_of)
    # A store that has just come to be may have lost what it knew.
    await harness.fetch()
    await harness.clock.pass_time(DIRTY_TTL)
    return harness


# --- sessions -----------------------------------------------------------------------------------


async def test_a_session_is_alive_from_its_start_to_its_end(harness: VersionsHarness) -> None:
    assert (await harness.fetch()).session_alive
    await harness.sessions.end(ADA, harness.session_of[ADA].id)
    assert not (await harness.fetch()).session_alive
    assert (await harness.fetch(GRACE_HOPPER)).session_alive


async def test_a_session_is_alive_for_its_user_alone(harness: VersionsHarness) -> None:
    hers = await harness.versions.fetch(ADA, harness.session_of[GRACE_HOPPER].id)
    assert not hers.session_alive


async def test_a_session_that_expires_is_not_alive(harness: VersionsHarness) -> None:
    await harness.clock.pass_time(IDLE)
    assert not (await harness.fetch()).session_alive


# --- changes ------------------------------------------------------------------------------------


async def test_without_a_change_users_are_stable_and_keep_their_version(
    harness: VersionsHarness,
) -> None:
    first = await harness.fetch()
    assert first.stable
    assert await harness.fetch() == first
    await harness.sessions.end(ADA, harness.session_of[ADA].id)
    assert (await harness.fetch()).version == first.version


async def test_a_change_marks_its_users_dirty_and_moves_their_versions(
    harness: VersionsHarness,
) -> None:
    ada, grace = await harness.fetch(ADA), await harness.fetch(GRACE_HOPPER)
    await harness.begun(ADA)
    during = await harness.fetch(ADA)
    assert not during.stable
    assert during.version != ada.version
    assert await harness.fetch(GRACE_HOPPER) == grace


async def test_a_finished_change_clears_its_mark_and_moves_the_versions_again(
    harness: VersionsHarness,
) -> None:
    before = await harness.fetch()
    change = await harness.begun(ADA)
    during = await harness.fetch()
    await harness.versions.clear_dirty(change)
    after = await harness.fetch()
    assert after.stable
    assert len({before.version, during.version, after.version}) == 3


async def test_a_change_of_several_users_is_one(harness: VersionsHarness) -> None:
    change = await harness.begun(ADA, GRACE_HOPPER)
    assert not (await harness.fetch(ADA)).stable
    assert not (await harness.fetch(GRACE_HOPPER)).stable
    await harness.versions.clear_dirty(change)
    assert (await harness.fetch(ADA)).stable
    assert (await harness.fetch(GRACE_HOPPER)).stable


async def test_a_change_of_everyone_is_one_of_each(harness: VersionsHarness) -> None:
    await harness.versions.clear_dirty(await harness.begun(ADA))
    before = {user_id: await harness.fetch(user_id) for user_id in harness.session_of}
    change = await harness.begun(everyone=True)
    during = {user_id: await harness.fetch(user_id) for user_id in harness.session_of}
    await harness.versions.clear_dirty(change)
    after = {user_id: await harness.fetch(user_id) for user_id in harness.session_of}
    for user_id in harness.session_of:
        assert not during[user_id].stable
        assert after[user_id].stable
        versions = {step[user_id].version for step in (before, during, after)}
        assert len(versions) == 3


async def test_a_change_of_no_user_marks_no_user_dirty(harness: VersionsHarness) -> None:
    before = await harness.fetch()
    change = await harness.begun()
    assert await harness.fetch() == before
    await harness.versions.clear_dirty(change)
    assert await harness.fetch() == before


@pytest.mark.parametrize("other_is_of_everyone", [False, True])
async def test_of_two_changes_at_once_the_last_one_to_finish_makes_users_stable(
    harness: VersionsHarness, *, other_is_of_everyone: bool
) -> None:
    one = await harness.begun(ADA)
    other = await harness.begun(ADA, everyone=other_is_of_everyone)
    await harness.versions.clear_dirty(one)
    between = await harness.fetch()
    assert not between.stable
    await harness.versions.clear_dirty(other)
    after = await harness.fetch()
    assert after.stable
    assert after.version != between.version


async def test_no_version_is_seen_twice(harness: VersionsHarness) -> None:
    seen = [(await harness.fetch()).version]
    for everyone in (False, True, False, True):
        change = await harness.begun(ADA, everyone=everyone)
        seen.append((await harness.fetch()).version)
        await harness.versions.clear_dirty(change)
        seen.append((await harness.fetch()).version)
    assert len(set(seen)) == 9


async def test_steps_that_are_repeated_because_an_answer_was_lost_do_no_harm(
    harness: VersionsHarness,
) -> None:
    change = harness.change(ADA)
    for _ in range(2):
        await harness.versions.mark_dirty(change)
        assert not (await harness.fetch()).stable
    for _ in range(2):
        await harness.versions.clear_dirty(change)
        assert (await harness.fetch()).stable


# --- changes that are never finished ------------------------------------------------------------


@pytest.mark.parametrize("everyone", [False, True])
async def test_the_mark_of_an_unfinished_change_expires_at_a_version_of_its_own(
    harness: VersionsHarness, *, everyone: bool
) -> None:
    before = await harness.fetch()
    await (harness.begun(everyone=True) if everyone else harness.begun(ADA))
    await harness.clock.pass_time(DIRTY_TTL - SECOND)
    assert not (await harness.fetch()).stable
    await harness.clock.pass_time(SECOND)
    after = await harness.fetch()
    assert after.stable
    assert after.version != before.version


async def test_one_change_does_not_prolong_another(harness: VersionsHarness) -> None:
    await harness.begun(ADA)
    await harness.clock.pass_time(DIRTY_TTL - SECOND)
    await harness.begun(GRACE_HOPPER)
    await harness.clock.pass_time(SECOND)
    assert (await harness.fetch(ADA)).stable
    assert not (await harness.fetch(GRACE_HOPPER)).stable


async def test_a_change_that_is_finished_after_its_mark_expired_moves_the_version_once_more(
    harness: VersionsHarness,
) -> None:
    change = await harness.begun(ADA)
    await harness.clock.pass_time(DIRTY_TTL)
    stable = await harness.fetch()
    await harness.versions.clear_dirty(change)
    after = await harness.fetch()
    assert after.stable
    assert after.version != stable.version


# --- many at once -------------------------------------------------------------------------------


async def test_concurrent_callers_get_a_snapshot_each(harness: VersionsHarness) -> None:
    users = [UserId(a_session().id) for _ in range(40)]
    for user_id in users[::2]:
        harness.session_of[user_id] = a_session(user_id=user_id)
        await harness.sessions.open(
            harness.session_of[user_id], idle=IDLE, absolute=ABSOLUTE, cap=20
        )
    for user_id in users[1::2]:
        harness.session_of[user_id] = a_session(user_id=user_id)
    await harness.begun(*users[::4])

    snapshots = await asyncio.gather(*(harness.fetch(user_id) for user_id in users * 3))

    for number, snapshot in enumerate(snapshots):
        assert snapshot.session_alive == (number % 2 == 0)
        assert snapshot.stable == (number % 4 != 0)


async def test_a_caller_who_goes_away_takes_no_other_along(harness: VersionsHarness) -> None:
    fetches = [asyncio.create_task(harness.fetch()) for _ in range(10)]
    await asyncio.sleep(0)
    for fetch in fetches[::2]:
        fetch.cancel()
    answers = await asyncio.gather(*fetches, return_exceptions=True)
    expected = await harness.fetch()
    assert answers[1::2] == [expected] * 5


async def test_many_snapshots_are_those_of_each(harness: VersionsHarness) -> None:
    await harness.begun(ADA)
    callers = [(user_id, harness.session_of[user_id].id) for user_id in (ADA, GRACE_HOPPER)]
    unknown = (ADA, harness.session_of[GRACE_HOPPER].id)

    found = await harness.versions.fetch_many([*callers * 300, unknown])

    assert found[:2] == [await harness.fetch(ADA), await harness.fetch(GRACE_HOPPER)]
    assert list(found[:600]) == [*found[:2]] * 300
    assert not found[600].session_alive
    assert await harness.versions.fetch_many([]) == []
