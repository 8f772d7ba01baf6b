"""What `AccessVersions` promises, kept by memory and by Redis."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from uuid import UUID

import pytest

from adapters.memory.access_versions import MemoryAccessVersions
from adapters.memory.sessions import MemorySessionStore
from adapters.redis.access_versions import RedisAccessVersions
from adapters.redis.sessions import RedisSessionStore
from application.ports.access_versions import DIRTY_TTL, AccessSnapshot, AccessVersions, Change
from application.ports.sessions import SessionStore
from domain.identity import UserId
from domain.sessions import Session
from tests.fakes.backend import Backend
from tests.fakes.clock import MovableClock
from tests.fakes.sessions import ABSOLUTE, ADA, GRACE_HOPPER, IDLE, a_session

SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class World:
    """The versions under test, and a living session of each user."""

    versions: AccessVersions
    sessions: SessionStore
    clock: MovableClock
    session_of: dict[UserId, Session]
    _numbers: "count[int]" = field(default_factory=count)

    async def fetch(self, user_id: UserId = ADA) -> AccessSnapshot:
        return await self.versions.fetch(user_id, self.session_of[user_id].id)

    def change(self, *user_ids: UserId, everyone: bool = False) -> Change:
        """Return a change that has not begun."""
        return Change(id=UUID(int=next(self._numbers)), user_ids=user_ids, everyone=everyone)

    async def begun(self, *user_ids: UserId, everyone: bool = False) -> Change:
        change = self.change(*user_ids, everyone=everyone)
        await self.versions.mark_dirty(change)
        return change


@pytest.fixture
async def world(backend: Backend) -> World:
    sessions: SessionStore
    versions: AccessVersions
    if backend.redis:
        sessions, versions = RedisSessionStore(backend.redis), RedisAccessVersions(backend.redis)
    else:
        sessions = MemorySessionStore(backend.clock)
        versions = MemoryAccessVersions(sessions, backend.clock)
    session_of = {user_id: a_session(user_id=user_id) for user_id in (ADA, GRACE_HOPPER)}
    for session in session_of.values():
        await sessions.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
    world = World(versions, sessions, backend.clock, session_of)
    # A store that has just come to be may have lost what it knew.
    await world.fetch()
    await world.clock.pass_time(DIRTY_TTL)
    return world


# --- sessions -----------------------------------------------------------------------------------


async def test_a_session_is_alive_from_its_start_to_its_end(world: World) -> None:
    assert (await world.fetch()).session_alive
    await world.sessions.end(ADA, world.session_of[ADA].id)
    assert not (await world.fetch()).session_alive
    assert (await world.fetch(GRACE_HOPPER)).session_alive


async def test_a_session_is_alive_for_its_user_alone(world: World) -> None:
    hers = await world.versions.fetch(ADA, world.session_of[GRACE_HOPPER].id)
    assert not hers.session_alive


async def test_a_session_that_expires_is_not_alive(world: World) -> None:
    await world.clock.pass_time(IDLE)
    assert not (await world.fetch()).session_alive


# --- changes ------------------------------------------------------------------------------------


async def test_without_a_change_users_are_stable_and_keep_their_version(world: World) -> None:
    first = await world.fetch()
    assert first.stable
    assert await world.fetch() == first
    await world.sessions.end(ADA, world.session_of[ADA].id)
    assert (await world.fetch()).version == first.version


async def test_a_change_marks_its_users_dirty_and_moves_their_versions(
    world: World,
) -> None:
    ada, grace = await world.fetch(ADA), await world.fetch(GRACE_HOPPER)
    await world.begun(ADA)
    during = await world.fetch(ADA)
    assert not during.stable
    assert during.version != ada.version
    assert await world.fetch(GRACE_HOPPER) == grace


async def test_a_finished_change_clears_its_mark_and_moves_the_versions_again(
    world: World,
) -> None:
    before = await world.fetch()
    change = await world.begun(ADA)
    during = await world.fetch()
    await world.versions.clear_dirty(change)
    after = await world.fetch()
    assert after.stable
    assert len({before.version, during.version, after.version}) == 3


async def test_a_change_of_several_users_is_one(world: World) -> None:
    change = await world.begun(ADA, GRACE_HOPPER)
    assert not (await world.fetch(ADA)).stable
    assert not (await world.fetch(GRACE_HOPPER)).stable
    await world.versions.clear_dirty(change)
    assert (await world.fetch(ADA)).stable
    assert (await world.fetch(GRACE_HOPPER)).stable


async def test_a_change_of_everyone_is_one_of_each(world: World) -> None:
    await world.versions.clear_dirty(await world.begun(ADA))
    before = {user_id: await world.fetch(user_id) for user_id in world.session_of}
    change = await world.begun(everyone=True)
    during = {user_id: await world.fetch(user_id) for user_id in world.session_of}
    await world.versions.clear_dirty(change)
    after = {user_id: await world.fetch(user_id) for user_id in world.session_of}
    for user_id in world.session_of:
        assert not during[user_id].stable
        assert after[user_id].stable
        versions = {step[user_id].version for step in (before, during, after)}
        assert len(versions) == 3


async def test_a_change_of_nobody_marks_nobody_dirty(world: World) -> None:
    before = await world.fetch()
    change = await world.begun()
    assert await world.fetch() == before
    await world.versions.clear_dirty(change)
    assert await world.fetch() == before


@pytest.mark.parametrize("other_is_of_everyone", [False, True])
async def test_of_two_changes_at_once_the_last_one_to_finish_makes_users_stable(
    world: World, *, other_is_of_everyone: bool
) -> None:
    one = await world.begun(ADA)
    other = await world.begun(ADA, everyone=other_is_of_everyone)
    await world.versions.clear_dirty(one)
    between = await world.fetch()
    assert not between.stable
    await world.versions.clear_dirty(other)
    after = await world.fetch()
    assert after.stable
    assert after.version != between.version


async def test_no_version_is_seen_twice(world: World) -> None:
    seen = [(await world.fetch()).version]
    for everyone in (False, True, False, True):
        change = await world.begun(ADA, everyone=everyone)
        seen.append((await world.fetch()).version)
        await world.versions.clear_dirty(change)
        seen.append((await world.fetch()).version)
    assert len(set(seen)) == 9


async def test_steps_that_are_repeated_because_an_answer_was_lost_do_no_harm(world: World) -> None:
    change = world.change(ADA)
    for _ in range(2):
        await world.versions.mark_dirty(change)
        assert not (await world.fetch()).stable
    for _ in range(2):
        await world.versions.clear_dirty(change)
        assert (await world.fetch()).stable


# --- changes that nobody finishes ---------------------------------------------------------------


@pytest.mark.parametrize("everyone", [False, True])
async def test_the_mark_of_an_unfinished_change_expires_at_a_version_of_its_own(
    world: World, *, everyone: bool
) -> None:
    before = await world.fetch()
    await (world.begun(everyone=True) if everyone else world.begun(ADA))
    await world.clock.pass_time(DIRTY_TTL - SECOND)
    assert not (await world.fetch()).stable
    await world.clock.pass_time(SECOND)
    after = await world.fetch()
    assert after.stable
    assert after.version != before.version


async def test_one_change_does_not_prolong_another(world: World) -> None:
    await world.begun(ADA)
    await world.clock.pass_time(DIRTY_TTL - SECOND)
    await world.begun(GRACE_HOPPER)
    await world.clock.pass_time(SECOND)
    assert (await world.fetch(ADA)).stable
    assert not (await world.fetch(GRACE_HOPPER)).stable


async def test_a_change_that_is_finished_after_its_mark_expired_moves_the_version_once_more(
    world: World,
) -> None:
    change = await world.begun(ADA)
    await world.clock.pass_time(DIRTY_TTL)
    stable = await world.fetch()
    await world.versions.clear_dirty(change)
    after = await world.fetch()
    assert after.stable
    assert after.version != stable.version


# --- many at once -------------------------------------------------------------------------------


async def test_concurrent_callers_get_a_snapshot_each(world: World) -> None:
    users = [UserId(a_session().id) for _ in range(40)]
    for user_id in users[::2]:
        world.session_of[user_id] = a_session(user_id=user_id)
        await world.sessions.open(world.session_of[user_id], idle=IDLE, absolute=ABSOLUTE, cap=20)
    for user_id in users[1::2]:
        world.session_of[user_id] = a_session(user_id=user_id)
    await world.begun(*users[::4])

    snapshots = await asyncio.gather(*(world.fetch(user_id) for user_id in users * 3))

    for number, snapshot in enumerate(snapshots):
        assert snapshot.session_alive == (number % 2 == 0)
        assert snapshot.stable == (number % 4 != 0)


async def test_a_caller_who_goes_away_takes_no_other_along(world: World) -> None:
    fetches = [asyncio.create_task(world.fetch()) for _ in range(10)]
    await asyncio.sleep(0)
    for fetch in fetches[::2]:
        fetch.cancel()
    answers = await asyncio.gather(*fetches, return_exceptions=True)
    expected = await world.fetch()
    assert answers[1::2] == [expected] * 5
