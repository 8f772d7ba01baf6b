"""The guard, and changes of access: who is let through, at what cost, and that no user acts on what was taken away."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID

import pytest

from adapters.memory.access_cache import LocalAccessCache, MemoryAccessCache
from adapters.memory.access_versions import MemoryAccessVersions
from adapters.memory.sessions import MemorySessionStore
from adapters.memory.store import MemoryStore
from adapters.memory.tokens import MemoryTokens
from adapters.memory.unit_of_work import MemoryUnitOfWork
from adapters.system import Uuid7Generator
from application.ports.access_versions import DIRTY_TTL, AccessSnapshot, Change
from application.ports.unit_of_work import UnitOfWork
from application.settings import Limit, SessionSettings
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Guard
from application.use_cases.caller import Caller, ClientInfo
from application.use_cases.sessions.tokens import IssueTokens, TokenPair
from domain.access import Access, PermissionDenied
from domain.errors import Unavailable
from domain.grants import Grant
from domain.identity import PasswordChangeRequired, User, UserId, UserStatus
from domain.roles import Role
from domain.sessions import InvalidToken, Session, SessionId
from tests.support.access_changes import changing
from tests.support.builders import a_role, a_user
from tests.support.clock import SECOND, MovableClock
from tests.support.sessions import ABSOLUTE, FIREFOX, GRACE, IDLE, a_session, a_token_id, token_of

READ, WRITE = "GET:/api/v1/roles", "PUT:/api/v1/roles/{role_id}"
LAPTOP = ClientInfo(address="192.0.2.1", agent="Firefox", request_id="r-1")


class Versions(MemoryAccessVersions):
    """Can be away, or hear the first steps of a change alone."""

    is_up = True
    hears_finish = True

    async def fetch(self, user_id: UserId, session_id: SessionId) -> AccessSnapshot:
        self._be_up()
        return await super().fetch(user_id, session_id)

    async def mark_dirty(self, change: Change) -> None:
        self._be_up()
        await super().mark_dirty(change)

    async def clear_dirty(self, change: Change) -> None:
        if not self.hears_finish:
            raise Unavailable("Redis")
        await super().clear_dirty(change)

    def _be_up(self) -> None:
        if not self.is_up:
            raise Unavailable("Redis")


class FullCache(MemoryAccessCache):
    """Takes nothing."""

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        raise Unavailable("Redis")


@dataclass(slots=True)
class Outage:
    """What the database does not do for a while."""

    is_down: bool = False
    commits_are_lost: bool = False
    answers_are_lost: bool = False


class Database(MemoryUnitOfWork):
    """Can be down, and lose a commit or the answer to it."""

    def __init__(self, store: MemoryStore, outage: Outage) -> None:
        super().__init__(store)
        self._outage = outage

    async def __aenter__(self) -> Self:
        if self._outage.is_down:
            raise Unavailable("PostgreSQL")
        return await super().__aenter__()

    async def commit(self) -> None:
        if not self._outage.commits_are_lost:
            await super().commit()
        if self._outage.commits_are_lost or self._outage.answers_are_lost:
            raise Unavailable("PostgreSQL")


class GuardHarness:
    """Two processes with a guard each, over the same stores."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self.store = MemoryStore()
        self.database = Outage()
        self.settings = SessionSettings()
        self.sessions = MemorySessionStore(self.clock)
        self.versions = Versions(self.sessions, self.clock)
        self.cache = MemoryAccessCache(self.clock, self.settings.access_lifetime)
        self.tokens = MemoryTokens(self.settings, self.clock)
        self.commit = CommitAccessChange(versions=self.versions, ids=Uuid7Generator())
        self.here, self.there = self.a_guard(), self.a_guard()

    def uow(self) -> UnitOfWork:
        return Database(self.store, self.database)

    def change(
        self, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        return changing(self.uow, self.commit, user_ids, everyone=everyone)

    def a_guard(self, cache: MemoryAccessCache | None = None, *, most: int = 10_000) -> Guard:
        return Guard(
            uow=self.uow,
            tokens=self.tokens,
            store=self.sessions,
            versions=self.versions,
            cache=LocalAccessCache(cache or self.cache, most),
        )

    async def given(self, user: User, *roles: Role) -> TokenPair:
        """Store a user who has these roles; return the tokens of a fresh session."""
        async with MemoryUnitOfWork(self.store) as uow:
            await uow.users.add(user)
            for role in roles:
                if await uow.roles.find(role.id) is None:
                    await uow.roles.add(role)
            await uow.roles.assign(user.id, [role.id for role in roles])
            await uow.commit()
        return await self.log_in(user)

    async def log_in(self, user: User) -> TokenPair:
        session = a_session(user_id=user.id, at=self.clock.now())
        await self.sessions.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
        return self.tokens_of(session)

    def tokens_of(self, session: Session) -> TokenPair:
        return IssueTokens(
            tokens=self.tokens, clock=self.clock, ids=Uuid7Generator(), settings=self.settings
        )(session)

    async def save(self, uow: UnitOfWork, role: Role, *grants: str) -> None:
        """Let a role give these grants."""
        await uow.roles.lock([role.id])
        await uow.roles.save(replace(role, grants=frozenset(map(Grant, grants))))

    async def may(self, guard: Guard, tokens: TokenPair, permission: str = READ) -> bool:
        try:
            await guard(tokens.access_token, LAPTOP, permission=permission)
        except PermissionDenied:
            return False
        return True

    async def is_stable(self, tokens: TokenPair) -> bool:
        claims = self.tokens.verify_access(tokens.access_token)
        return (await self.versions.fetch(claims.user_id, claims.session_id)).stable


@pytest.fixture
def harness() -> GuardHarness:
    return GuardHarness()


# --- who is let through -------------------------------------------------------------------------


async def test_the_guard_tells_who_calls_in_which_session_from_where_and_what_they_may(
    harness: GuardHarness,
) -> None:
    user = a_user()
    tokens = await harness.given(user, a_role(READ), a_role(WRITE))
    caller = await harness.here(tokens.access_token, LAPTOP)
    (session,) = await harness.sessions.of_user(user.id)
    assert caller == Caller(
        user_id=user.id, session_id=session.id, access=caller.access, client=LAPTOP
    )
    assert caller.access.grants.exact == {READ, WRITE}
    assert caller == await harness.there.with_refresh_token(tokens.refresh_token, LAPTOP)


@pytest.mark.parametrize("grant", [READ, "GET:**", "*:/api/v1/**"])
async def test_a_permission_is_had_by_its_code_or_by_a_pattern(
    harness: GuardHarness, grant: str
) -> None:
    tokens = await harness.given(a_user(), a_role(grant))
    assert await harness.may(harness.here, tokens)


async def test_without_the_permission_only_administrators_are_let_through(
    harness: GuardHarness,
) -> None:
    tokens = await harness.given(a_user(), a_role(WRITE))
    with pytest.raises(PermissionDenied) as denial:
        await harness.here(tokens.access_token, LAPTOP, permission=READ)
    assert denial.value.permission == READ
    administrator = await harness.given(a_user(is_admin=True))
    assert await harness.may(harness.here, administrator)


async def test_a_route_that_needs_no_permission_needs_a_session(harness: GuardHarness) -> None:
    user = a_user()
    tokens = await harness.given(user)
    await harness.here(tokens.access_token, LAPTOP)
    await harness.sessions.end_all(user.id)
    for guard in (harness.here, harness.there):
        with pytest.raises(InvalidToken):
            await guard(tokens.access_token, LAPTOP)


async def test_a_foreign_or_expired_token_is_refused(
    harness: GuardHarness,
) -> None:
    tokens = await harness.given(a_user(is_admin=True))
    with pytest.raises(InvalidToken):
        await harness.here(tokens.refresh_token, LAPTOP)
    await harness.clock.pass_time(harness.settings.access_lifetime)
    with pytest.raises(InvalidToken):
        await harness.here(tokens.access_token, LAPTOP)


async def test_a_user_with_a_one_time_password_can_only_change_it(
    harness: GuardHarness,
) -> None:
    tokens = await harness.given(a_user(must_change_password=True, is_admin=True))
    with pytest.raises(PasswordChangeRequired):
        await harness.here(tokens.access_token, LAPTOP, permission=READ)
    caller = await harness.here(tokens.access_token, LAPTOP, accepts_one_time_password=True)
    assert caller.access.must_change_password


@pytest.mark.parametrize("with_refresh_token", [False, True])
async def test_a_disabled_or_deleted_user_may_do_nothing(
    harness: GuardHarness, *, with_refresh_token: bool
) -> None:
    async def asks(tokens: TokenPair) -> Caller:
        if with_refresh_token:
            return await harness.here.with_refresh_token(tokens.refresh_token, LAPTOP)
        return await harness.here(tokens.access_token, LAPTOP)

    disabled, gone = a_user(), a_user()
    sessions = [await harness.given(disabled), await harness.given(gone)]
    for tokens in sessions:
        await asks(tokens)
    async with harness.change([disabled.id, gone.id]) as uow:
        await uow.users.lock(disabled.id)
        await uow.users.save(replace(disabled, status=UserStatus.DISABLED))
        await uow.users.lock(gone.id)
        await uow.users.delete(gone.id)
    for tokens in sessions * 2:
        with pytest.raises(InvalidToken):
            await asks(tokens)


async def test_only_the_refresh_token_that_is_next_tells_whose_it_is(harness: GuardHarness) -> None:
    user = a_user()
    tokens = await harness.given(user)
    (session,) = await harness.sessions.of_user(user.id)
    rotation = await harness.sessions.rotate(
        token_of(session),
        successor=a_token_id(),
        fingerprint=FIREFOX,
        valid_from=session.valid_from,
        idle=IDLE,
        grace=GRACE,
        limit=Limit(9, 9),
    )
    assert rotation.session is not None
    with pytest.raises(InvalidToken):
        await harness.here.with_refresh_token(tokens.refresh_token, LAPTOP)
    successor = harness.tokens_of(rotation.session).refresh_token
    assert (await harness.here.with_refresh_token(successor, LAPTOP)).user_id == user.id
    await harness.sessions.end(user.id, session.id)
    with pytest.raises(InvalidToken):
        await harness.here.with_refresh_token(successor, LAPTOP)


# --- freshness ----------------------------------------------------------------------------------


async def test_a_change_of_a_role_is_in_force_at_the_next_request_everywhere(
    harness: GuardHarness,
) -> None:
    role = a_role(READ)
    tokens = await harness.given(a_user(), role)
    for guard in (harness.here, harness.there):
        assert await harness.may(guard, tokens)
    async with harness.change(everyone=True) as uow:
        await harness.save(uow, role, WRITE)
        assert await harness.may(harness.here, tokens)
    for guard in (harness.here, harness.there):
        assert not await harness.may(guard, tokens)
        assert await harness.may(guard, tokens, WRITE)


async def test_a_change_of_a_users_roles_is_in_force_at_their_next_request(
    harness: GuardHarness,
) -> None:
    user, other = a_user(), a_user()
    role = a_role(READ)
    tokens, others = await harness.given(user, role), await harness.given(other, role)
    for each in (tokens, others):
        assert await harness.may(harness.here, each)
    async with harness.change([user.id]) as uow:
        await uow.users.lock(user.id)
        await uow.roles.assign(user.id, [])
    assert not await harness.may(harness.here, tokens)
    assert await harness.may(harness.here, others)


# --- cost ---------------------------------------------------------------------------------------


async def test_a_cached_user_is_served_without_the_database(harness: GuardHarness) -> None:
    tokens = await harness.given(a_user(), a_role(READ))
    assert await harness.may(harness.here, tokens)
    harness.database.is_down = True
    assert await harness.may(harness.here, tokens)
    assert not await harness.may(harness.here, tokens, WRITE)
    # Through the shared cache, the other process knows it too.
    assert await harness.may(harness.there, tokens)


async def test_no_caller_is_let_through_on_a_guess(harness: GuardHarness) -> None:
    """While a change is under way the database decides; without it, no caller is let through."""
    user = a_user()
    tokens = await harness.given(user, a_role(READ))
    assert await harness.may(harness.here, tokens)
    await harness.versions.mark_dirty(Change(id=UUID(int=1), user_ids=[user.id]))
    harness.database.is_down = True
    with pytest.raises(Unavailable):
        await harness.here(tokens.access_token, LAPTOP)


async def test_without_the_store_of_versions_no_caller_is_let_through(
    harness: GuardHarness,
) -> None:
    tokens = await harness.given(a_user(is_admin=True))
    assert await harness.may(harness.here, tokens)
    harness.versions.is_up = False
    with pytest.raises(Unavailable):
        await harness.here(tokens.access_token, LAPTOP)
    with pytest.raises(Unavailable):
        await harness.here.with_refresh_token(tokens.refresh_token, LAPTOP)


async def test_a_cache_that_is_full_costs_a_read_in_each_process_and_nothing_else(
    harness: GuardHarness,
) -> None:
    tokens = await harness.given(a_user(), a_role(READ))
    guard = harness.a_guard(FullCache(harness.clock, SECOND))
    assert await harness.may(guard, tokens)
    harness.database.is_down = True
    assert await harness.may(guard, tokens)


async def test_a_process_remembers_so_many_callers_and_always_the_last(
    harness: GuardHarness,
) -> None:
    callers = [await harness.given(a_user(), a_role(READ)) for _ in range(5)]
    guard = harness.a_guard(FullCache(harness.clock, SECOND), most=2)
    for tokens in callers:
        assert await harness.may(guard, tokens)
    harness.database.is_down = True
    assert await harness.may(guard, callers[-1])
    remembered = 0
    for tokens in callers:
        with suppress(Unavailable):
            remembered += await harness.may(guard, tokens)
    assert remembered == 2


# --- changes that go wrong ----------------------------------------------------------------------


@asynccontextmanager
async def taken_away(harness: GuardHarness, role: Role) -> AsyncIterator[None]:
    """Change a role to give nothing; let the test do something before the commit."""
    async with harness.change(everyone=True) as uow:
        await harness.save(uow, role)
        yield


async def test_a_change_whose_block_raises_never_happened(harness: GuardHarness) -> None:
    role = a_role(READ)
    tokens = await harness.given(a_user(), role)

    class Refused(Exception):
        pass

    with pytest.raises(Refused):
        async with taken_away(harness, role):
            raise Refused
    assert await harness.may(harness.here, tokens)
    assert await harness.is_stable(tokens)


async def test_without_the_store_of_versions_nothing_is_changed(harness: GuardHarness) -> None:
    role = a_role(READ)
    tokens = await harness.given(a_user(), role)
    harness.versions.is_up = False
    with pytest.raises(Unavailable):
        async with taken_away(harness, role):
            pass
    harness.versions.is_up = True
    assert await harness.may(harness.here, tokens)


async def test_a_change_may_take_long_and_marks_no_user_dirty_before_its_commit(
    harness: GuardHarness,
) -> None:
    """A caller that waits for a lock, say, costs others nothing."""
    role = a_role(READ)
    tokens = await harness.given(a_user(), role)

    async with taken_away(harness, role):
        await harness.clock.pass_time(DIRTY_TTL)
        assert await harness.is_stable(tokens)
        assert await harness.may(harness.here, tokens)

    assert await harness.is_stable(tokens)
    assert not await harness.may(harness.here, tokens)


@pytest.mark.parametrize("it_happened", [False, True])
async def test_a_commit_without_an_answer_leaves_the_decision_to_the_database_for_a_while(
    harness: GuardHarness, *, it_happened: bool
) -> None:
    role = a_role(READ)
    tokens = await harness.given(a_user(), role)
    assert await harness.may(harness.here, tokens)
    harness.database.commits_are_lost = not it_happened
    harness.database.answers_are_lost = True
    with pytest.raises(Unavailable):
        async with taken_away(harness, role):
            pass
    for guard in (harness.here, harness.there):
        assert await harness.may(guard, tokens) is not it_happened
    await harness.clock.pass_time(DIRTY_TTL - SECOND)
    assert not await harness.is_stable(tokens)
    await harness.clock.pass_time(SECOND)
    assert await harness.is_stable(tokens)
    for guard in (harness.here, harness.there):
        assert await harness.may(guard, tokens) is not it_happened


async def test_a_change_that_cannot_be_finished_is_made_and_its_mark_expires(
    harness: GuardHarness,
) -> None:
    role = a_role(READ)
    tokens = await harness.given(a_user(), role)
    assert await harness.may(harness.here, tokens)
    harness.versions.hears_finish = False
    async with taken_away(harness, role):
        pass
    assert not await harness.may(harness.here, tokens)
    assert not await harness.is_stable(tokens)
    await harness.clock.pass_time(DIRTY_TTL)
    assert await harness.is_stable(tokens)
    assert not await harness.may(harness.here, tokens)


async def test_a_change_whose_caller_goes_away_never_happened(harness: GuardHarness) -> None:
    role = a_role(READ)
    tokens = await harness.given(a_user(), role)
    under_way = asyncio.Event()

    async def change() -> None:
        async with taken_away(harness, role):
            under_way.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(change())
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await harness.is_stable(tokens)
    assert await harness.may(harness.here, tokens)


async def test_a_change_whose_caller_goes_away_at_the_very_end_is_finished_all_the_same(
    harness: GuardHarness,
) -> None:
    role = a_role(READ)
    tokens = await harness.given(a_user(), role)
    finishing, may_finish, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class SlowVersions(Versions):
        async def clear_dirty(self, change: Change) -> None:
            finishing.set()
            await may_finish.wait()
            await super().clear_dirty(change)
            finished.set()

    harness.versions = SlowVersions(harness.sessions, harness.clock)
    harness.commit = replace(harness.commit, versions=harness.versions)
    harness.here = replace(harness.here, versions=harness.versions)

    async def change() -> None:
        async with taken_away(harness, role):
            pass

    task = asyncio.create_task(change())
    await finishing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_finish.set()
    await finished.wait()
    assert await harness.is_stable(tokens)
    assert not await harness.may(harness.here, tokens)
