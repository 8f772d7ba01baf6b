"""A user changes their password."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest

from adapters.memory.password_hasher import MemoryPasswordHasher
from adapters.memory.sessions import MemorySessionStore
from application.settings import Limit, SessionSettings, ThrottleSettings
from domain.audit_log import AuditOutcome
from domain.errors import Unavailable
from domain.identity import (
    Password,
    PasswordRejected,
    UnreadablePassword,
    User,
    UserId,
    UserStatus,
    WrongPassword,
)
from domain.log_in_throttle import Throttled
from domain.password_transport import SealedPassword
from domain.sessions import InvalidCredentials, InvalidToken, SessionId
from tests.support.builders import a_user
from tests.support.world import IN_MEMORY, LAPTOP, PASSWORD, PHONE, World

NEW = "another correct battery staple"


async def fits(world: World, user: User, password: str) -> bool:
    """Tell whether `password` is the stored one."""
    stored = world.stored(user).password_hash
    return await MemoryPasswordHasher().verify(Password(password), stored)


async def test_the_new_password_takes_the_place_of_the_old_one(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    await world.pass_time(hours=1)

    await world.change_password(caller, PASSWORD, NEW)

    assert world.stored(ada).password_changed_at == world.clock.now()
    await world.log_in(ada.username.value, NEW)
    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value, PASSWORD)


async def test_every_other_session_ends_and_this_one_goes_on(world: World) -> None:
    ada = await world.given(a_user())
    caller, tokens = await world.log_in_as(ada, LAPTOP)
    _, others = await world.log_in_as(ada, PHONE)

    await world.change_password(caller, PASSWORD, NEW)

    assert [session.id for session in await world.sessions(ada)] == [caller.session_id]
    await world.refresh(tokens)
    with pytest.raises(InvalidToken):
        await world.refresh(others, PHONE)


async def test_a_one_time_password_is_done_with_once_another_is_chosen(world: World) -> None:
    ada = await world.given(a_user(must_change_password=True), password="k7f3p-2m9xq")
    logged_in = await world.log_in(ada.username.value, "k7f3p-2m9xq")
    assert logged_in.user.must_change_password

    caller = await world.authenticate(logged_in.tokens, accepts_one_time_password=True)
    await world.change_password(caller, "k7f3p-2m9xq", NEW)

    await world.authenticate(logged_in.tokens)
    assert not (await world.log_in(ada.username.value, NEW)).user.must_change_password


async def test_a_one_time_password_that_has_expired_still_changes_itself_in_its_session(
    world: World,
) -> None:
    ada = await world.given(a_user(must_change_password=True))
    caller, _ = await world.log_in_as(ada)
    await world.pass_time(days=2)

    await world.change_password(caller, PASSWORD, NEW)

    await world.log_in(ada.username.value, NEW)


async def test_the_present_password_must_be_right(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    await world.log_in_as(ada, PHONE)

    for wrong in ("wrong", SealedPassword("garbage")):
        with pytest.raises(WrongPassword) as error:
            await world.change_password(caller, wrong, NEW)
        assert error.value.field == "old_password"

    assert await fits(world, ada, PASSWORD)
    assert len(await world.sessions(ada)) == 2


async def test_the_new_password_must_be_readable(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    strict = SessionSettings(require_fresh_ciphertext=True)
    demanding = replace(world.container.unseal_password(), settings=strict)
    use_case = replace(world.container.change_password(), unseal=demanding)

    for unreadable in (SealedPassword("garbage"), world.seal_bare(NEW)):
        with pytest.raises(UnreadablePassword) as error:
            await use_case(caller, world.seal(PASSWORD), unreadable)
        assert error.value.field == "new_password"

    assert await fits(world, ada, PASSWORD)


async def test_the_new_password_must_be_another_one(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)

    with pytest.raises(PasswordRejected) as error:
        await world.change_password(caller, PASSWORD, PASSWORD)

    assert (error.value.rule, error.value.field) == ("unchanged", "new_password")


@pytest.mark.parametrize(
    ("new", "rule"),
    [("short", "too_short"), ("password1234", "too_common"), ("ada.lovelace1", "too_similar")],
)
async def test_the_new_password_must_be_a_good_one(world: World, new: str, rule: str) -> None:
    ada = await world.given(a_user(username="ada.lovelace"))
    caller, _ = await world.log_in_as(ada)

    with pytest.raises(PasswordRejected) as error:
        await world.change_password(caller, PASSWORD, new)

    assert (error.value.rule, error.value.field) == (rule, "new_password")
    assert await fits(world, ada, PASSWORD)


async def test_one_ciphertext_is_not_both_passwords(world: World) -> None:
    caller, _ = await world.log_in_as(await world.given(a_user()))
    sealed = world.seal(PASSWORD)

    with pytest.raises(UnreadablePassword):
        await world.change_password(caller, sealed, sealed)


async def test_a_stolen_session_is_no_place_to_guess_in(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    for _ in range(10):
        with pytest.raises(WrongPassword):
            await world.change_password(caller, "wrong", NEW)

    with pytest.raises(Throttled):
        await world.change_password(caller, PASSWORD, NEW)


async def test_guesses_lock_the_change_of_password_even_for_the_right_one(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    for _ in range(5):
        with pytest.raises(WrongPassword):
            await world.change_password(caller, "wrong", NEW)

    with pytest.raises(WrongPassword):
        await world.change_password(caller, PASSWORD, NEW)
    await world.pass_time(seconds=30)
    await world.change_password(caller, PASSWORD, NEW)


async def test_a_wrong_password_is_recorded_with_who_typed_it(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)

    with pytest.raises(WrongPassword):
        await world.change_password(caller, "wrong", NEW)

    entry = world.audit_entries()[-1]
    assert (entry.action, entry.outcome) == ("users.password_change_failed", AuditOutcome.FAILURE)
    assert (entry.actor, entry.target) == (ada.id, f"user:{ada.id}")


async def test_guesses_in_a_stolen_session_lock_no_device_that_the_owner_has_logged_in_with(
    world: World,
) -> None:
    """They share the lock of log-in, so that they are no guesses more, and it is that of unknown devices."""
    ada = await world.given(a_user())
    phones = (await world.log_in(ada.username.value, client=PHONE)).device_token
    stolen = replace((await world.log_in_as(ada))[0], client=replace(LAPTOP, address="203.0.113.9"))
    for _ in range(5):
        with pytest.raises(WrongPassword):
            await world.change_password(stolen, "wrong", NEW)

    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.email.value, client=stolen.client)
    await world.log_in(ada.username.value, client=PHONE, device=phones)


async def test_guesses_at_the_log_in_do_not_block_a_change_of_password_on_a_known_device(
    world: World,
) -> None:
    ada = await world.given(a_user())
    logged_in = await world.log_in(ada.username.value)
    caller = await world.authenticate(logged_in.tokens)
    for _ in range(10):
        with pytest.raises(InvalidCredentials):
            await world.log_in(ada.username.value, "wrong", PHONE)
    with pytest.raises(Throttled):
        await world.change_password(caller, PASSWORD, NEW)

    await world.change_password(caller, PASSWORD, NEW, device=logged_in.device_token)


async def test_a_new_password_makes_every_other_device_unknown(world: World) -> None:
    """Someone who knew the old one may have logged in with it, and would have guesses of their own at the new one."""
    ada = await world.given(a_user())
    mine = await world.log_in(ada.username.value)
    thiefs = (await world.log_in(ada.username.value, client=PHONE)).device_token
    caller = await world.authenticate(mine.tokens)

    await world.change_password(caller, PASSWORD, NEW, device=mine.device_token)

    assert await world.knows(ada, mine.device_token)
    assert not await world.knows(ada, thiefs)


async def test_the_right_password_costs_no_attempt_even_if_the_new_one_is_refused() -> None:
    throttle = ThrottleSettings(account=Limit(2, 300), lock_after=2)
    world = World(replace(IN_MEMORY, throttle=throttle))
    caller, _ = await world.log_in_as(await world.given(a_user()))

    for _ in range(5):
        with pytest.raises(PasswordRejected):
            await world.change_password(caller, PASSWORD, "short")


async def test_of_two_changes_at_once_one_wins(world: World) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)

    answers = await asyncio.gather(
        world.change_password(caller, PASSWORD, NEW),
        world.change_password(caller, PASSWORD, NEW + "!"),
        return_exceptions=True,
    )

    assert Counter(map(type, answers)) == {type(None): 1, WrongPassword: 1}
    assert [await fits(world, ada, new) for new in (PASSWORD, NEW, NEW + "!")].count(True) == 1


async def test_a_user_who_is_disabled_in_that_moment_stays_so_and_is_told(world: World) -> None:
    """Not that their password is wrong: the next request would say something else."""
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    await world.change(ada, status=UserStatus.DISABLED)

    with pytest.raises(InvalidToken):
        await world.change_password(caller, PASSWORD, NEW)

    assert world.stored(ada).status is UserStatus.DISABLED
    assert await fits(world, ada, PASSWORD)


async def test_no_session_outlives_the_password_that_opened_it(world: World) -> None:
    """If the store of sessions is down nothing changes, so that asking again is safe."""

    class StoreThatIsDown(MemorySessionStore):
        async def end_others(
            self, user_id: UserId, *, keep: SessionId, valid_from: datetime
        ) -> int:
            raise Unavailable("redis")

    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    use_case = replace(world.container.change_password(), store=StoreThatIsDown(world.clock))

    with pytest.raises(Unavailable):
        await use_case(caller, world.seal(PASSWORD), world.seal(NEW))

    assert await fits(world, ada, PASSWORD)
    await world.change_password(caller, PASSWORD, NEW)


async def test_a_log_in_with_the_old_password_does_not_slip_through_a_change(
    world: World,
) -> None:
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)

    await asyncio.gather(
        world.change_password(caller, PASSWORD, NEW),
        *(world.log_in(ada.username.value, PASSWORD, PHONE) for _ in range(4)),
        return_exceptions=True,
    )

    assert [session.id for session in await world.sessions(ada)] == [caller.session_id]
