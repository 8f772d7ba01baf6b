"""What `LogInThrottle` promises, kept by memory and by Redis."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.memory.log_in_throttle import MemoryLogInThrottle
from adapters.redis.log_in_throttle import RedisLogInThrottle
from application.ports.log_in_throttle import LogInAttempt, LogInThrottle, Reservation
from application.settings import Limit, ThrottleSettings
from domain.identity import UserId
from domain.sessions import Throttled
from tests.fakes.backend import Backend
from tests.fakes.clock import MovableClock

SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
PLENTY = Limit(1_000_000, 1)
OPEN = ThrottleSettings(account=PLENTY, address=PLENTY, everyone=PLENTY)
"""Limits that nobody reaches; a test sets the one that it is about."""

ADA = UserId(UUID(int=1))
OWNER = LogInAttempt(name="ada.lovelace", user_id=ADA, address="192.0.2.1", device="a token")
ATTACKER = replace(OWNER, address="203.0.113.66", device="a guess")


@dataclass(slots=True)
class World:
    """The throttle under test, and people at the door."""

    backend: Backend
    throttle: LogInThrottle

    @property
    def clock(self) -> MovableClock:
        return self.backend.clock

    def configure(self, settings: ThrottleSettings) -> None:
        redis = self.backend.timed_redis
        self.throttle = (
            RedisLogInThrottle(redis, settings, b"k" * 32)
            if redis
            else MemoryLogInThrottle(settings, self.clock)
        )

    async def reserve(self, attempt: LogInAttempt = OWNER) -> Reservation:
        return await self.throttle.reserve(attempt)

    async def fail(self, attempt: LogInAttempt = OWNER, *, times: int = 1) -> None:
        for _ in range(times):
            await self.throttle.failed(await self.reserve(attempt))

    async def succeed(self, attempt: LogInAttempt = OWNER) -> None:
        await self.throttle.succeeded(await self.reserve(attempt), device=attempt.device)

    async def attempts(self, attempt: LogInAttempt = OWNER) -> int:
        """Return how many attempts are let through at once before one is refused."""
        for made in range(1000):
            try:
                await self.reserve(attempt)
            except Throttled:
                return made
        pytest.fail("nothing is ever refused")

    async def wait_for(self, attempt: LogInAttempt = OWNER) -> timedelta:
        """Return how long the refusal of the next attempt says to wait."""
        with pytest.raises(Throttled) as refusal:
            await self.reserve(attempt)
        return refusal.value.retry_after

    async def is_locked(self, attempt: LogInAttempt = OWNER) -> bool:
        return (await self.reserve(attempt)).locked


@pytest.fixture
def world(backend: Backend) -> World:
    world = World(backend, MemoryLogInThrottle(OPEN, backend.clock))
    world.configure(OPEN)
    return world


# --- three buckets ------------------------------------------------------------------------------


async def test_attempts_on_one_account_are_limited_wherever_they_come_from(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(10, 300)))
    for n in range(10):
        await world.reserve(replace(OWNER, address=f"198.51.100.{n}", device=f"device {n}"))
    assert await world.wait_for(ATTACKER) == 30 * SECOND
    await world.clock.pass_time(29 * SECOND)
    assert await world.wait_for(ATTACKER) == SECOND
    await world.clock.pass_time(SECOND)
    assert await world.attempts(ATTACKER) == 1


@pytest.mark.parametrize(
    "spelling",
    ["ADA.LOVELACE", "  ada.lovelace\n", "\uff41\uff44\uff41.lovelace", "ADA.lovelace\u3000"],
)
async def test_spellings_of_one_name_are_one_account(world: World, spelling: str) -> None:
    world.configure(replace(OPEN, account=Limit(2, 300)))
    nobody = replace(OWNER, user_id=None)
    await world.reserve(nobody)
    await world.reserve(replace(nobody, name=spelling))
    await world.wait_for(nobody)
    assert await world.attempts(replace(nobody, name="charles.babbage")) == 2


async def test_all_names_of_one_user_are_one_account_which_no_other_name_is(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(2, 300)))
    by_email = replace(OWNER, name="ada@example.org")
    await world.reserve(OWNER)
    await world.reserve(by_email)
    await world.wait_for(OWNER)
    await world.wait_for(replace(OWNER, name="renamed.since"))
    nobody = replace(OWNER, user_id=None)
    assert await world.attempts(nobody) == 2  # the same name when it is nobody's
    assert await world.attempts(replace(OWNER, user_id=UserId(UUID(int=2)))) == 2
    assert await world.attempts(replace(nobody, name=f"user {ADA}")) == 2


@pytest.mark.parametrize("name", ["", "\ud800", "a" * 5000, "no one@nowhere", "{log-in}", "a\x00b"])
async def test_any_text_may_be_tried_as_a_name_and_is_limited(world: World, name: str) -> None:
    world.configure(replace(OPEN, account=Limit(2, 300)))
    assert await world.attempts(replace(OWNER, user_id=None, name=name)) == 2


async def test_attempts_from_one_address_are_limited_whomever_they_are_for(world: World) -> None:
    world.configure(replace(OPEN, address=Limit(3, 300)))
    for n in range(3):
        await world.reserve(replace(OWNER, user_id=UserId(UUID(int=n)), device=f"device {n}"))
    assert await world.wait_for(OWNER) == 100 * SECOND
    await world.reserve(replace(OWNER, address="192.0.2.2"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"),
        ("192.0.2.7", "::ffff:192.0.2.7"),
        ("fe80::1%eth0", "fe80::2"),
        ("nonsense", ""),
    ],
)
async def test_addresses_that_one_guesser_controls_are_one(
    world: World, one: str, other: str
) -> None:
    world.configure(replace(OPEN, address=Limit(1, 300)))
    await world.reserve(replace(OWNER, address=one))
    await world.wait_for(replace(OWNER, address=other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:2::1"),
        ("2001:db8:1::1", "2001:db8:2::1"),
        ("192.0.2.7", "192.0.2.8"),
        ("::1", "127.0.0.1"),
    ],
)
async def test_neighbours_do_not_pay_for_each_other(world: World, one: str, other: str) -> None:
    world.configure(replace(OPEN, address=Limit(1, 300)))
    await world.reserve(replace(OWNER, address=one))
    await world.reserve(replace(OWNER, address=other))


async def test_all_attempts_together_are_limited(world: World) -> None:
    world.configure(replace(OPEN, everyone=Limit(4, 60)))
    for n in range(4):
        await world.reserve(
            LogInAttempt(
                name=f"user-{n}", user_id=None, address=f"192.0.2.{n}", device=f"device {n}"
            )
        )
    assert await world.wait_for(OWNER) == 15 * SECOND


async def test_a_refused_attempt_pays_in_no_bucket(world: World) -> None:
    world.configure(
        replace(OPEN, account=Limit(2, 300), address=Limit(5, 300), everyone=Limit(9, 300))
    )
    for _ in range(50):
        await world.attempts(OWNER)
    nobody = replace(OWNER, user_id=None)
    assert await world.attempts(replace(nobody, name="another", address="198.51.100.1")) == 2
    neighbour = [replace(nobody, name=f"user-{n}") for n in range(4)]
    assert [await world.attempts(n) for n in neighbour] == [2, 1, 0, 0]
    assert await world.attempts(replace(nobody, name="third", address="198.51.100.2")) == 2


async def test_a_refusal_names_the_longest_wait(world: World) -> None:
    world.configure(
        replace(OPEN, account=Limit(1, 60), address=Limit(1, 3600), everyone=Limit(1, 5))
    )
    await world.reserve()
    assert await world.wait_for() == HOUR
    await world.clock.pass_time(HOUR)
    await world.reserve()


async def test_of_many_attempts_at_the_same_time_only_the_allowed_ones_pass(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(10, 300)))
    answers = await asyncio.gather(*(world.reserve() for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(answer, Reservation) for answer in answers) == 10
    assert sum(isinstance(answer, Throttled) for answer in answers) == 40


# --- success ------------------------------------------------------------------------------------


async def test_a_success_costs_the_account_nothing(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(2, 300)))
    for n in range(20):
        await world.succeed(replace(OWNER, address=f"192.0.2.{n}"))
    assert await world.attempts(ATTACKER) == 2


async def test_a_success_gives_one_attempt_back_and_not_those_that_failed(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(3, 300), failures_before_lock=100))
    await world.fail(ATTACKER)
    await world.succeed(OWNER)
    assert await world.attempts(ATTACKER) == 2


async def test_giving_back_twice_saves_nothing_up(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(2, 300)))
    reservation = await world.reserve()
    for _ in range(5):
        await world.throttle.succeeded(reservation)
    assert await world.attempts(ATTACKER) == 2


async def test_a_success_may_take_longer_than_its_attempt_is_remembered(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(2, 300)))
    reservation = await world.reserve()
    await world.clock.pass_time(DAY)
    await world.throttle.succeeded(reservation)
    assert await world.attempts(ATTACKER) == 2


async def test_a_success_still_costs_its_address(world: World) -> None:
    """An attacker with an account of their own must not refill the bucket by logging in."""
    world.configure(replace(OPEN, address=Limit(3, 300)))
    without = replace(OWNER, device=None)
    for _ in range(3):
        await world.succeed(without)
    await world.wait_for(without)


async def test_a_success_on_a_known_device_still_costs_the_device_what_it_would_cost_its_address(
    world: World,
) -> None:
    """Each is a password to verify, and a known device pays in no other bucket."""
    world.configure(replace(OPEN, address=Limit(3, 300)))
    await world.succeed()
    for n in range(3):
        await world.succeed(replace(OWNER, address=f"192.0.2.{n}"))
    assert await world.wait_for() == 100 * SECOND


# --- locks --------------------------------------------------------------------------------------


async def test_five_failures_in_a_row_lock_the_account_for_a_while(world: World) -> None:
    await world.fail(ATTACKER, times=4)
    assert not await world.is_locked(OWNER)
    await world.clock.pass_time(30 * SECOND)
    await world.fail(ATTACKER)
    assert await world.is_locked(OWNER)
    assert await world.is_locked(ATTACKER)
    await world.clock.pass_time(29 * SECOND)
    assert await world.is_locked(OWNER)
    await world.clock.pass_time(SECOND)
    assert not await world.is_locked(OWNER)


async def test_a_lock_starts_when_the_failure_is_known(world: World) -> None:
    """Between reserving an attempt and the failure lies the time that a password takes to verify."""
    await world.fail(times=4)
    reservation = await world.reserve()
    await world.clock.pass_time(20 * SECOND)
    await world.throttle.failed(reservation)
    await world.clock.pass_time(29 * SECOND)
    assert await world.is_locked()
    await world.clock.pass_time(SECOND)
    assert not await world.is_locked()


async def test_each_further_failure_doubles_the_lock_up_to_the_longest(world: World) -> None:
    await world.fail(times=5)
    for seconds in (30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600):
        await world.clock.pass_time(timedelta(seconds=seconds) - SECOND)
        assert await world.is_locked()
        await world.clock.pass_time(SECOND)
        await world.fail()


async def test_a_success_forgets_the_failures(world: World) -> None:
    await world.fail(times=4)
    await world.succeed()
    stranger = replace(OWNER, device="another")
    await world.fail(stranger, times=4)
    assert not await world.is_locked(stranger)


async def test_a_locked_attempt_pays_but_is_no_further_failure(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(10, 3600)))
    await world.fail(times=5)
    for _ in range(5):
        reservation = await world.reserve()
        assert reservation.locked
        await world.throttle.failed(reservation)
    await world.wait_for()
    await world.clock.pass_time(HOUR)
    await world.fail()
    await world.clock.pass_time(MINUTE)
    assert not await world.is_locked()


async def test_a_day_after_the_last_failure_all_are_forgotten(world: World) -> None:
    await world.fail(times=4)
    await world.clock.pass_time(DAY)
    await world.fail(times=4)
    assert not await world.is_locked()


async def test_failures_far_apart_are_still_in_a_row_within_a_day(world: World) -> None:
    for _ in range(5):
        await world.clock.pass_time(20 * HOUR)
        await world.fail()
    assert await world.is_locked()


async def test_a_lock_lasts_however_long_it_is(world: World) -> None:
    world.configure(replace(OPEN, first_lock=3 * DAY, longest_lock=3 * DAY))
    await world.fail(times=5)
    await world.clock.pass_time(3 * DAY - SECOND)
    assert await world.is_locked()
    await world.clock.pass_time(SECOND)
    assert not await world.is_locked()


async def test_two_guesses_at_once_do_not_both_slip_in_before_the_lock(world: World) -> None:
    await world.fail(times=5)
    await world.clock.pass_time(30 * SECOND)
    guesses = await asyncio.gather(*(world.reserve() for _ in range(10)))
    assert [guess.locked for guess in guesses].count(False) == 1


async def test_a_right_password_frees_the_account_that_its_attempt_held(world: World) -> None:
    await world.fail(times=4)
    await world.succeed()
    assert not await world.is_locked()
    assert not await world.is_locked(ATTACKER)


async def test_an_attempt_that_is_never_settled_holds_the_account_for_the_first_lock_only(
    world: World,
) -> None:
    world.configure(replace(OPEN, failures_before_lock=1))
    await world.reserve()
    await world.clock.pass_time(29 * SECOND)
    assert await world.is_locked()
    await world.clock.pass_time(SECOND)
    assert not await world.is_locked()


async def test_accounts_that_nobody_has_are_locked_alike(world: World) -> None:
    nobody = replace(OWNER, name="no such user at all", user_id=None)
    await world.fail(nobody, times=5)
    assert await world.is_locked(nobody)


# --- known devices ------------------------------------------------------------------------------


async def test_an_attacker_cannot_lock_the_owner_out_of_a_known_device(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(10, 300)))
    await world.succeed(OWNER)
    await world.fail(ATTACKER, times=5)
    await world.attempts(ATTACKER)

    reservation = await world.reserve(OWNER)

    assert reservation == Reservation(attempt=OWNER, locked=False, known_device=True)


async def test_a_known_device_has_a_bucket_and_a_lock_of_its_own(world: World) -> None:
    world.configure(replace(OPEN, account=Limit(6, 300)))
    await world.succeed(OWNER)
    await world.fail(OWNER, times=5)
    assert await world.is_locked(OWNER)
    await world.wait_for(OWNER)
    assert not await world.is_locked(ATTACKER)
    await world.clock.pass_time(300 * SECOND)
    await world.succeed(OWNER)
    assert not await world.is_locked(OWNER)


async def test_a_device_is_known_by_its_token_wherever_it_is_and_by_nothing_else(
    world: World,
) -> None:
    """The owner's phone, in another network."""
    await world.succeed(OWNER)
    assert (await world.reserve(OWNER)).known_device
    assert (await world.reserve(replace(OWNER, address=ATTACKER.address))).known_device
    for token in (None, "", "another", "a token "):
        assert not (await world.reserve(replace(OWNER, device=token))).known_device


async def test_a_device_is_known_by_the_token_that_it_was_handed_not_by_the_one_it_showed(
    world: World,
) -> None:
    """Otherwise whoever can plant a cookie in a browser has a known device as soon as its owner logs in."""
    planted = replace(OWNER, device="planted")
    await world.throttle.succeeded(await world.reserve(planted), device="handed out")
    assert not (await world.reserve(planted)).known_device
    assert (await world.reserve(replace(OWNER, device="handed out"))).known_device


async def test_a_success_without_a_token_to_hand_out_makes_no_device_known(world: World) -> None:
    await world.throttle.succeeded(await world.reserve())
    assert not (await world.reserve()).known_device


async def test_nobody_behind_the_same_address_locks_a_known_device_out(world: World) -> None:
    """Not even with the same browser: a colleague, or everybody else behind a carrier's address."""
    world.configure(
        replace(OPEN, account=Limit(10, 300), address=Limit(30, 300), everyone=Limit(50, 300))
    )
    await world.succeed(OWNER)
    colleague = replace(OWNER, device=None)
    await world.fail(colleague, times=8)
    others = [replace(colleague, user_id=UserId(UUID(int=n))) for n in range(2, 12)]
    for other in others:
        await world.attempts(other)
    await world.wait_for(replace(colleague, user_id=UserId(UUID(int=99))))

    reservation = await world.reserve(OWNER)

    assert (reservation.locked, reservation.known_device) == (False, True)


async def test_one_site_with_all_its_networks_locks_no_known_device_out_and_leaves_room_for_others(
    world: World,
) -> None:
    world.configure(replace(OPEN, address=Limit(3, 300), everyone=Limit(50, 300)))
    await world.succeed(OWNER)
    passed = 0
    for n in range(100):
        nobody = LogInAttempt(name=f"nobody-{n}", user_id=None, address=f"2001:db8:0:{n:x}::1")
        try:
            await world.reserve(nobody)
        except Throttled:
            continue
        passed += 1

    assert passed == 30
    assert (await world.reserve(OWNER)).known_device
    for n in range(19):  # the owner's own first log-in was one of the fifty
        await world.reserve(replace(OWNER, device=None, address=f"198.51.100.{n}"))
    await world.wait_for(replace(OWNER, device=None, address="198.51.100.99"))
    assert (await world.reserve(OWNER)).known_device


async def test_the_devices_of_a_user_are_forgotten_but_the_one_to_keep(world: World) -> None:
    phone, other = replace(OWNER, device="phone"), replace(OWNER, user_id=UserId(UUID(int=2)))
    for attempt in (OWNER, phone, other):
        await world.succeed(attempt)

    await world.throttle.forget_devices(ADA, keep=phone.device)

    known = [(await world.reserve(attempt)).known_device for attempt in (OWNER, phone, other)]
    assert known == [False, True, True]
    await world.clock.pass_time(89 * DAY)
    assert (await world.reserve(phone)).known_device
    await world.clock.pass_time(DAY)
    assert not (await world.reserve(phone)).known_device


@pytest.mark.parametrize("keep", [None, "", "unknown"])
async def test_what_is_not_known_is_not_kept_either(world: World, keep: str | None) -> None:
    await world.throttle.forget_devices(ADA, keep=keep)
    await world.succeed(OWNER)
    await world.throttle.forget_devices(ADA, keep=keep)
    for token in (OWNER.device, keep):
        assert not (await world.reserve(replace(OWNER, device=token))).known_device


async def test_a_device_is_known_to_the_account_that_it_logged_in_to(world: World) -> None:
    await world.succeed(OWNER)
    for other in (UserId(UUID(int=2)), None):
        assert not (await world.reserve(replace(OWNER, user_id=other))).known_device


async def test_a_device_becomes_known_by_a_success_and_by_nothing_else(world: World) -> None:
    await world.fail(OWNER)
    assert not (await world.reserve(OWNER)).known_device


async def test_a_device_is_remembered_from_its_last_log_in_on_for_as_long_as_configured(
    world: World,
) -> None:
    await world.succeed(OWNER)
    await world.clock.pass_time(60 * DAY)
    await world.succeed(OWNER)
    await world.clock.pass_time(89 * DAY)
    assert (await world.reserve(OWNER)).known_device
    await world.clock.pass_time(DAY)
    assert not (await world.reserve(OWNER)).known_device


async def test_a_device_is_forgotten_though_another_one_of_its_account_is_still_known(
    world: World,
) -> None:
    another = replace(OWNER, device="another")
    await world.succeed(OWNER)
    await world.clock.pass_time(60 * DAY)
    await world.succeed(another)
    await world.clock.pass_time(30 * DAY)
    assert not (await world.reserve(OWNER)).known_device
    assert (await world.reserve(another)).known_device


async def test_twenty_devices_are_known_and_the_one_used_longest_ago_makes_room(
    world: World,
) -> None:
    devices = [replace(OWNER, device=f"device {n}") for n in range(21)]
    for device in (*devices[:20], devices[0], devices[20]):
        await world.succeed(device)
        await world.clock.pass_time(SECOND)
    known = [(await world.reserve(device)).known_device for device in devices]
    assert known == [True, False, *[True] * 19]
