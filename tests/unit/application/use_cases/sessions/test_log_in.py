"""Log-in: who gets a session, who does not, and that all who do not look the same."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from adapters.memory.log_in_throttle import MemoryLogInThrottle
from adapters.memory.password_hasher import MemoryPasswordHasher
from adapters.memory.sessions import MemorySessionStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from application.ports.log_in_throttle import LogInAttempt, Reservation
from application.ports.sessions import Opened
from application.settings import Limit, SessionSettings, Settings, ThrottleSettings
from application.use_cases.caller import ClientInfo
from domain.errors import PorticoError, Unavailable
from domain.identity import Password, User, Username, UserStatus
from domain.log_in_throttle import Throttled
from domain.password_transport import SealedPassword
from domain.sessions import InvalidCredentials, NewSession
from tests.support.builders import A_MOMENT, a_user
from tests.support.world import IN_MEMORY, LAPTOP, PASSWORD, PHONE, World

STRICTLY_FRESH = replace(IN_MEMORY, sessions=SessionSettings(require_fresh_ciphertext=True))
NEVER_LOCKED = replace(IN_MEMORY, throttle=ThrottleSettings(lock_after=1000))


@dataclass(slots=True)
class Gate:
    """Stops the first who comes until the test opens it."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


class GatedHasher(MemoryPasswordHasher):
    """Stops between the verification of a password and its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def verify(self, password: Password, stored: str | None) -> bool:
        answer = await super().verify(password, stored)
        await self.gate.pass_through()
        return answer


def message_of(error: pytest.ExceptionInfo[PorticoError]) -> tuple[object, ...]:
    """Return all that a caller can tell from an error."""
    return type(error.value), error.value.code, vars(error.value)


async def message_of_log_in(
    world: World, name: str, password: str | SealedPassword, client: ClientInfo = LAPTOP
) -> object:
    with pytest.raises(InvalidCredentials) as error:
        await world.log_in(name, password, client)
    return message_of(error)


# --- who gets in --------------------------------------------------------------------------------


async def test_a_user_logs_in_with_their_name_or_their_email_in_any_case(
    world: World,
) -> None:
    ada = await world.given(a_user(username="Ada.Lovelace", email="Ada@Example.org"))

    for name in ("Ada.Lovelace", "ada.lovelace", "ada@example.org", "  ADA@EXAMPLE.ORG "):
        logged_in = await world.log_in(name)
        assert logged_in.user.id == ada.id


async def test_a_log_in_opens_a_session_that_says_where_it_is(world: World) -> None:
    ada = await world.given(a_user())

    caller, tokens = await world.log_in_as(ada, PHONE)

    (session,) = await world.sessions(ada)
    assert session.id == caller.session_id
    assert (session.address, session.agent) == (PHONE.address, PHONE.agent)
    assert session.created_at == session.last_seen_at == world.clock.now()
    assert session.ends_at == world.clock.now() + timedelta(days=30)
    assert caller.user_id == ada.id
    assert (tokens.expires_in, tokens.refresh_expires_in) == (600, 7 * 86400)


async def test_a_log_in_is_remembered_with_its_time(world: World) -> None:
    ada = await world.given(a_user())
    await world.pass_time(hours=1)

    logged_in = await world.log_in(ada.username.value)

    stored = world.stored(ada)
    assert stored.last_login_at == logged_in.user.last_login_at == world.clock.now()


async def test_a_long_user_agent_is_cut_and_a_missing_one_is_no_obstacle(world: World) -> None:
    ada = await world.given(a_user())

    await world.log_in_as(ada, ClientInfo(address="192.0.2.9", agent="x" * 5000))
    await world.log_in_as(ada, ClientInfo(address="192.0.2.9", agent=None))

    agents = [session.agent for session in await world.sessions(ada)]
    assert sorted(agents) == ["", "x" * 256]


async def test_beyond_the_cap_the_oldest_session_ends() -> None:
    world = World(replace(IN_MEMORY, sessions=SessionSettings(sessions_per_user=2)))
    ada = await world.given(a_user())

    sessions = []
    for _ in range(3):
        await world.pass_time(minutes=1)
        caller, _ = await world.log_in_as(ada)
        sessions.append(caller.session_id)

    assert [s.id for s in await world.sessions(ada)] == [sessions[2], sessions[1]]
    first, second, third = map(str, sessions)
    assert [entry.details for entry in world.audit_entries()] == [
        {"session": first},
        {"session": second},
        {"session": third, "ended": [first]},
    ]
    assert {entry.target for entry in world.audit_entries()} == {f"user:{ada.id}"}


async def test_a_hash_of_other_parameters_is_replaced_at_log_in(world: World) -> None:
    ada = await world.given(a_user())
    of_last_year = world.stored(ada).password_hash
    world.container.hasher.override(MemoryPasswordHasher(generation=2))

    await world.log_in(ada.username.value)

    of_today = world.stored(ada).password_hash
    assert of_last_year.startswith("$memory$g=1$")
    assert of_today.startswith("$memory$g=2$")
    await world.log_in(ada.username.value)
    assert world.stored(ada).password_hash == of_today


async def test_a_password_in_clear_is_for_the_docs_page(world: World) -> None:
    ada = await world.given(a_user())

    logged_in = await world.container.log_in()(ada.username.value, Password(PASSWORD), LAPTOP)

    assert logged_in.user.id == ada.id


# --- who does not -------------------------------------------------------------------------------


async def test_unknown_wrong_disabled_locked_and_unreadable_are_one_fact(world: World) -> None:
    await world.given(a_user(username="ada.lovelace"))
    await world.given(a_user(username="disabled", status=UserStatus.DISABLED))
    locked = await world.given(a_user(username="locked"))
    for _ in range(5):
        await message_of_log_in(world, "locked", "wrong")

    assert (
        await message_of_log_in(world, "ada.lovelace", "wrong")
        == await message_of_log_in(world, "nobody.at.all", PASSWORD)
        == await message_of_log_in(world, "no name \x00 \ud800", PASSWORD)
        == await message_of_log_in(world, "disabled", PASSWORD)
        == await message_of_log_in(world, "locked", PASSWORD)
        == await message_of_log_in(world, "ada.lovelace", SealedPassword("garbage"))
        == await message_of_log_in(world, "ada.lovelace", "half a \ud83e unicorn")
    )
    assert await world.sessions(locked) == []


async def test_a_disabled_user_cannot_log_in_and_can_again_once_enabled(world: World) -> None:
    ada = await world.given(a_user(status=UserStatus.DISABLED))
    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value)
    assert await world.sessions(ada) == []

    await world.change(ada, status=UserStatus.ACTIVE)

    await world.log_in(ada.username.value)


async def test_a_one_time_password_logs_in_once(world: World) -> None:
    ada = await world.given(a_user(must_change_password=True))
    wrong = await message_of_log_in(world, ada.username.value, "wrong")
    await world.log_in(ada.username.value)

    again = await message_of_log_in(world, ada.username.value, PASSWORD)

    assert str(again) == str(wrong)
    assert len(await world.sessions(ada)) == 1


async def test_of_many_log_ins_with_a_one_time_password_at_once_one_gets_in(world: World) -> None:
    ada = await world.given(a_user(must_change_password=True))

    answers = await asyncio.gather(
        *(world.log_in(ada.username.value) for _ in range(4)), return_exceptions=True
    )

    assert sum(isinstance(answer, InvalidCredentials) for answer in answers) == 3
    assert len(await world.sessions(ada)) == 1


async def test_a_one_time_password_logs_in_for_a_day(world: World) -> None:
    ada = await world.given(a_user(must_change_password=True))
    bob = await world.given(a_user(must_change_password=True))
    await world.pass_time(hours=23, minutes=59)
    await world.log_in(ada.username.value)
    await world.pass_time(minutes=1)

    await message_of_log_in(world, bob.username.value, PASSWORD)

    assert await world.sessions(bob) == []


async def test_a_one_time_password_that_was_used_up_counts_as_a_failure(world: World) -> None:
    ada = await world.given(a_user(must_change_password=True))
    await world.log_in(ada.username.value)
    for _ in range(5):
        await message_of_log_in(world, ada.username.value, PASSWORD, PHONE)

    await world.change(ada, must_change_password=False)

    await message_of_log_in(world, ada.username.value, PASSWORD, PHONE)  # locked


# --- how the password travels -------------------------------------------------------------------


@pytest.mark.parametrize(
    "sealed",
    [
        SealedPassword(""),
        SealedPassword("not base64!"),
        SealedPassword("AAAA"),
        SealedPassword("c2VhbGVk", key_id="of another service"),
    ],
)
async def test_a_ciphertext_that_does_not_open_is_a_wrong_password(
    world: World, sealed: SealedPassword
) -> None:
    ada = await world.given(a_user())
    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value, sealed)


async def test_a_plaintext_that_is_no_text_is_a_wrong_password(world: World) -> None:
    ada = await world.given(a_user())
    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value, world.transport.seal(b"\xff\xfe"))


async def test_a_bare_password_is_accepted_on_a_laptop_and_refused_where_freshness_is_required(
    world: World,
) -> None:
    ada = await world.given(a_user())
    await world.log_in(ada.username.value, world.seal_bare(PASSWORD))

    strict = World(STRICTLY_FRESH)
    bob = await strict.given(a_user())
    with pytest.raises(InvalidCredentials):
        await strict.log_in(bob.username.value, strict.seal_bare(PASSWORD))
    await strict.log_in(bob.username.value, strict.seal(PASSWORD))


@pytest.mark.parametrize("settings", [IN_MEMORY, STRICTLY_FRESH])
@pytest.mark.parametrize("seconds", [-121, 121, -(10**9), 10**9])
async def test_a_password_sealed_too_long_ago_or_in_the_future_is_refused(
    settings: Settings, seconds: int
) -> None:
    world = World(settings)
    ada = await world.given(a_user())
    sealed_at = world.clock.now() + timedelta(seconds=seconds)

    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value, world.seal(PASSWORD, at=sealed_at))


async def test_a_clock_that_is_two_minutes_off_is_tolerated(world: World) -> None:
    ada = await world.given(a_user())
    for seconds in (-120, 120):
        sealed_at = world.clock.now() + timedelta(seconds=seconds)
        await world.log_in(ada.username.value, world.seal(PASSWORD, at=sealed_at))


@pytest.mark.parametrize("seconds_later", [0, 1, 120, 239, 240])
async def test_a_ciphertext_is_accepted_once(world: World, seconds_later: int) -> None:
    """Even if the client's clock is ahead by the whole window, and so the copy stays fresh for two."""
    ada = await world.given(a_user())
    sealed = world.seal(PASSWORD, at=world.clock.now() + timedelta(seconds=120))
    await world.log_in(ada.username.value, sealed)
    await world.pass_time(seconds=seconds_later)

    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value, sealed)


async def test_a_ciphertext_that_failed_elsewhere_opens_nothing_later(world: World) -> None:
    ada = await world.given(a_user())
    sealed = world.seal(PASSWORD)
    with pytest.raises(InvalidCredentials):
        await world.log_in("somebody.else", sealed)

    with pytest.raises(InvalidCredentials):
        await world.log_in(ada.username.value, sealed)


async def test_of_many_log_ins_with_one_ciphertext_one_succeeds(world: World) -> None:
    ada = await world.given(a_user())
    sealed = world.seal(PASSWORD)

    answers = await asyncio.gather(
        *(world.log_in(ada.username.value, sealed) for _ in range(4)), return_exceptions=True
    )

    assert sum(isinstance(answer, InvalidCredentials) for answer in answers) == 3
    assert len(await world.sessions(ada)) == 1


# --- throttling and locks -----------------------------------------------------------------------


async def test_an_account_takes_ten_attempts_in_five_minutes_whether_it_exists_or_not(
    world: World,
) -> None:
    ada = await world.given(a_user())

    async def throttled(name: str) -> Throttled:
        for _ in range(10):
            await message_of_log_in(world, name, "wrong")
        with pytest.raises(Throttled) as error:
            await world.log_in(name)
        return error.value

    known, unknown = await throttled(ada.username.value), await throttled("nobody.at.all")

    assert vars(known) == vars(unknown)
    assert known.retry_after == timedelta(seconds=30)


async def test_a_throttled_account_is_no_obstacle_for_another_one(world: World) -> None:
    ada, bob = await world.given(a_user()), await world.given(a_user())
    for _ in range(10):
        await message_of_log_in(world, ada.username.value, "wrong")

    await world.log_in(bob.username.value, client=PHONE)


async def test_a_throttled_attempt_may_be_repeated_with_the_same_ciphertext() -> None:
    """It is refused before any costly work, decryption included."""
    world = World(NEVER_LOCKED)
    ada = await world.given(a_user())
    for _ in range(10):
        await message_of_log_in(world, ada.username.value, "wrong")
    sealed = world.seal(PASSWORD)
    with pytest.raises(Throttled) as throttled:
        await world.log_in(ada.username.value, sealed)

    await world.pass_time(seconds=throttled.value.retry_after.total_seconds())

    await world.log_in(ada.username.value, sealed)


async def test_an_address_has_thirty_attempts_in_five_minutes_for_all_names(
    world: World,
) -> None:
    ada = await world.given(a_user())
    for number in range(30):
        await message_of_log_in(world, f"name-{number}", "wrong")

    with pytest.raises(Throttled):
        await world.log_in(ada.username.value, client=LAPTOP)
    await world.log_in(ada.username.value, client=PHONE)


async def test_all_addresses_together_have_a_limit_too() -> None:
    world = World(replace(IN_MEMORY, throttle=ThrottleSettings(global_=Limit(3, 60))))
    for number in range(3):
        client = ClientInfo(address=f"192.0.2.{number}", agent=None)
        with pytest.raises(InvalidCredentials):
            await world.log_in(f"name-{number}", client=client)

    with pytest.raises(Throttled):
        await world.log_in("name-4", client=PHONE)


async def test_a_right_password_gives_its_attempt_back(world: World) -> None:
    ada = await world.given(a_user())
    for _ in range(25):
        await world.log_in(ada.username.value)


async def test_an_account_is_locked_after_five_failures_even_for_the_right_password(
    world: World,
) -> None:
    ada = await world.given(a_user())
    wrong = [await message_of_log_in(world, ada.username.value, "wrong") for _ in range(5)]

    locked = await message_of_log_in(world, ada.username.value, PASSWORD)
    await world.pass_time(seconds=30)

    assert {str(locked)} == {str(message) for message in wrong}
    await world.log_in(ada.username.value)


async def test_an_attempt_on_a_locked_account_does_not_prolong_the_lock(world: World) -> None:
    ada = await world.given(a_user())
    for _ in range(5):
        await message_of_log_in(world, ada.username.value, "wrong")
    await world.pass_time(seconds=29)
    await message_of_log_in(world, ada.username.value, "wrong")

    await world.pass_time(seconds=1)

    await world.log_in(ada.username.value)


async def test_each_further_failure_doubles_the_lock(world: World) -> None:
    ada = await world.given(a_user())
    for _ in range(5):
        await message_of_log_in(world, ada.username.value, "wrong")
    await world.pass_time(seconds=30)
    await message_of_log_in(world, ada.username.value, "wrong")

    await world.pass_time(seconds=59)
    await message_of_log_in(world, ada.username.value, PASSWORD)
    await world.pass_time(seconds=1)

    await world.log_in(ada.username.value)


async def test_a_success_forgets_the_failures_before_it(world: World) -> None:
    ada = await world.given(a_user())
    for _ in range(3):
        for _ in range(4):
            await message_of_log_in(world, ada.username.value, "wrong")
        await world.log_in(ada.username.value)
        await world.pass_time(minutes=2)


# --- known devices ------------------------------------------------------------------------------


async def known_device(world: World, user: User, client: ClientInfo = LAPTOP) -> str:
    """Log in, and return what the device was handed to be known by."""
    token = (await world.log_in(user.username.value, client=client)).device_token
    assert token is not None
    return token


async def test_a_stranger_cannot_lock_the_owner_out_of_a_known_device(world: World) -> None:
    """The phone of the owner, in another network than it was in before."""
    ada = await world.given(a_user())
    token = await known_device(world, ada, PHONE)
    for _ in range(10):
        await message_of_log_in(world, ada.username.value, "wrong")
    for client in (LAPTOP, PHONE):
        with pytest.raises(Throttled):
            await world.log_in(ada.username.value, client=client)

    elsewhere = replace(PHONE, address="203.0.113.77")
    await world.log_in(ada.username.value, client=elsewhere, device=token)


async def test_a_colleague_at_the_same_address_cannot_lock_the_owner_out_of_a_known_device(
    world: World,
) -> None:
    ada = await world.given(a_user())
    token = await known_device(world, ada)
    for number in range(29):
        name = ada.username.value if number < 8 else f"nobody-{number}"
        await message_of_log_in(world, name, "wrong")
    with pytest.raises(Throttled):
        await world.log_in("nobody-99")

    await world.log_in(ada.username.value, device=token)


async def test_an_attacker_with_a_whole_site_of_addresses_locks_no_user_out(world: World) -> None:
    ada = await world.given(a_user())
    token = await known_device(world, ada)
    for number in range(1700):
        client = ClientInfo(address=f"2001:db8:0:{number:x}::1")
        with pytest.raises((InvalidCredentials, Throttled)):
            await world.log_in(f"nobody-{number}", "wrong", client)

    await world.log_in(ada.username.value, device=token)
    await world.log_in(ada.username.value, client=PHONE)  # that was never seen before


async def test_a_known_device_is_handed_the_same_token_again(world: World) -> None:
    ada = await world.given(a_user())
    token = await known_device(world, ada)

    again = await world.log_in(ada.username.value, device=token)

    assert again.device_token == token
    assert len(token) >= 22  # 128 bits


@pytest.mark.parametrize("shown", ["", "made up", "x" * 10_000, "\ud800"])
async def test_a_token_that_was_not_handed_out_is_replaced_by_one_that_is(
    world: World, shown: str
) -> None:
    ada = await world.given(a_user())

    handed_out = (await world.log_in(ada.username.value, device=shown)).device_token

    assert handed_out not in {None, shown}


async def test_the_token_of_one_account_says_nothing_to_another(world: World) -> None:
    ada, bob = await world.given(a_user()), await world.given(a_user())
    token = await known_device(world, ada)
    await known_device(world, bob)
    for _ in range(5):
        await message_of_log_in(world, bob.username.value, "wrong", PHONE)

    with pytest.raises(InvalidCredentials):  # locked
        await world.log_in(bob.username.value, device=token)


async def test_a_stolen_token_opens_nothing_and_has_its_own_limit(world: World) -> None:
    ada = await world.given(a_user())
    token = await known_device(world, ada)
    mine = await known_device(world, ada, PHONE)
    for _ in range(10):
        with pytest.raises(InvalidCredentials):
            await world.log_in(ada.username.value, "wrong", device=token)
    with pytest.raises(Throttled):
        await world.log_in(ada.username.value, device=token)

    await world.log_in(ada.username.value, device=mine)
    await world.log_in(ada.username.value)


@pytest.mark.parametrize("fault", ["wrong password", "unknown", "disabled", "locked"])
async def test_a_refused_log_in_gets_the_same_answer_with_a_device_token(
    world: World, fault: str
) -> None:
    ada = await world.given(a_user())
    token = await known_device(world, ada)
    unknown_device = await message_of_log_in(world, ada.username.value, "wrong")
    name, password = ada.username.value, PASSWORD
    if fault == "wrong password":
        password = "wrong"
    elif fault == "unknown":
        name = "nobody.at.all"
    elif fault == "disabled":
        await world.change(ada, status=UserStatus.DISABLED)
    else:
        for _ in range(5):
            with pytest.raises(InvalidCredentials):
                await world.log_in(name, "wrong", device=token)

    with pytest.raises(InvalidCredentials) as error:
        await world.log_in(name, password, device=token)

    assert str(message_of(error)) == str(unknown_device)


async def test_a_store_of_attempts_that_stalls_after_the_log_in_does_not_undo_it(
    world: World,
) -> None:
    """The session is open and noted by then: to answer with an error would be a lie."""

    class Stalling(MemoryLogInThrottle):
        async def succeeded(self, reservation: Reservation, *, device: str | None = None) -> None:
            raise Unavailable("Redis")

    ada = await world.given(a_user())
    token = await known_device(world, ada)
    stalling = replace(world.container.log_in(), throttle=Stalling(ThrottleSettings(), world.clock))

    logged_in = await stalling(ada.username.value, world.seal(PASSWORD), LAPTOP, device=token)

    await world.authenticate(logged_in.tokens)
    assert logged_in.device_token is None  # no later request would know it
    assert world.audit_entries()[-1].action == "sessions.logged_in"


# --- races and faults ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"password_hash": "$memory$g=1$another$hash"},
        {"status": UserStatus.DISABLED},
        {"sessions_ended_at": A_MOMENT},
    ],
    ids=["password changed", "user disabled", "sessions ended"],
)
async def test_a_change_while_the_password_is_verified_wins(change: dict[str, object]) -> None:
    """A change of password, or disabling a user, is not outrun by a log-in that began before."""
    hasher = GatedHasher()
    world = World(hasher=hasher)
    ada = await world.given(a_user())
    log_in = asyncio.create_task(world.log_in(ada.username.value))
    await hasher.gate.reached.wait()

    await world.change(ada, **change)
    hasher.gate.opened.set()

    with pytest.raises(InvalidCredentials):
        await log_in
    assert await world.sessions(ada) == []
    assert world.stored(ada).last_login_at is None


async def test_a_change_between_the_session_and_its_record_wins(world: World) -> None:
    """The session is opened first, so that ending all sessions finds it; then the record misses."""

    class GatedStore(MemorySessionStore):
        gate = Gate()

        async def open(
            self, new: NewSession, *, idle: timedelta, absolute: timedelta, cap: int
        ) -> Opened:
            opened = await super().open(new, idle=idle, absolute=absolute, cap=cap)
            await self.gate.pass_through()
            return opened

    ada = await world.given(a_user())
    store = GatedStore(world.clock)
    world.container.session_store.override(store)
    log_in = asyncio.create_task(world.log_in(ada.username.value))
    await store.gate.reached.wait()

    await world.change(ada, status=UserStatus.DISABLED)
    store.gate.opened.set()

    with pytest.raises(InvalidCredentials):
        await log_in
    assert await world.sessions(ada) == []


async def test_a_log_in_that_cannot_be_recorded_leaves_no_session(world: World) -> None:
    class StoreThatStops(MemoryUnitOfWork):
        async def commit(self) -> None:
            raise Unavailable("postgres")

    ada = await world.given(a_user())
    use_case = replace(world.container.log_in(), uow=lambda: StoreThatStops(world.store))

    with pytest.raises(Unavailable):
        await use_case(ada.username.value, world.seal(PASSWORD), LAPTOP)

    assert await world.sessions(ada) == []


async def test_without_the_session_store_no_user_logs_in(world: World) -> None:
    class StoreThatIsDown(MemorySessionStore):
        async def open(
            self, new: NewSession, *, idle: timedelta, absolute: timedelta, cap: int
        ) -> Opened:
            raise Unavailable("redis")

    ada = await world.given(a_user())
    world.container.session_store.override(StoreThatIsDown(world.clock))

    with pytest.raises(Unavailable):
        await world.log_in(ada.username.value)

    assert world.stored(ada).last_login_at is None


async def test_a_user_who_is_gone_by_the_time_of_the_record_does_not_get_in() -> None:
    hasher = GatedHasher()
    world = World(hasher=hasher)
    ada = await world.given(a_user())
    log_in = asyncio.create_task(world.log_in(ada.username.value))
    await hasher.gate.reached.wait()

    del world.store.users[ada.id]
    hasher.gate.opened.set()

    with pytest.raises(InvalidCredentials):
        await log_in


async def test_a_caller_who_hangs_up_while_the_password_is_verified_leaves_no_session() -> None:
    hasher = GatedHasher()
    world = World(hasher=hasher)
    ada = await world.given(a_user())
    log_in = asyncio.create_task(world.log_in(ada.username.value))
    await hasher.gate.reached.wait()

    log_in.cancel()

    with pytest.raises(asyncio.CancelledError):
        await log_in
    assert await world.sessions(ada) == []


async def test_the_name_and_the_email_of_a_user_are_one_account(world: World) -> None:
    """Otherwise an attacker who knows both has twice the guesses, and unlocks with one what is locked by the other."""
    ada = await world.given(a_user())
    names = ada.username.value, ada.email.value
    for number in range(5):
        await message_of_log_in(world, names[number % 2], "wrong")

    for name in names:
        with pytest.raises(InvalidCredentials):
            await world.log_in(name)


async def test_a_user_who_is_renamed_keeps_what_was_counted(world: World) -> None:
    ada = await world.given(a_user())
    for _ in range(5):
        await message_of_log_in(world, ada.username.value, "wrong")

    await world.change(ada, username=Username("countess.lovelace"))

    with pytest.raises(InvalidCredentials):
        await world.log_in("countess.lovelace")


async def test_a_known_device_is_known_by_whichever_name_it_logs_in(world: World) -> None:
    ada = await world.given(a_user())
    token = await known_device(world, ada)
    for _ in range(5):
        await message_of_log_in(world, ada.email.value, "wrong", PHONE)

    await world.log_in(ada.email.value, device=token)


async def test_an_attempt_is_counted_for_the_name_as_people_read_it(world: World) -> None:
    throttle = world.container.log_in_throttle()
    for name in ("Ada.Lovelace", "ada.lovelace", " ADA.LOVELACE", "\uff41da.lovelace") * 3:
        attempt = LogInAttempt(name=name, user_id=None, address=LAPTOP.address)
        try:
            await throttle.reserve(attempt)
        except Throttled:
            break
    else:
        pytest.fail("twelve spellings of one name were twelve accounts")
