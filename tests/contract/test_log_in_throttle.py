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
from domain.log_in_throttle import Throttled
from tests.support.clock import MovableClock
from tests.support.redis_clock import Backend

SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
PLENTY = Limit(1_000_000, 1)
OPEN = ThrottleSettings(account=PLENTY, address=PLENTY, global_=PLENTY)
"""Limits too high to matter; a test sets the one that it is about."""

ADA = UserId(UUID(int=1))
OWNER = LogInAttempt(name="ada.lovelace", user_id=ADA, address="192.0.2.1", device="a token")
ATTACKER = replace(OWNER, address="203.0.113.66", device="a guess")


@dataclass(slots=True)
class ThrottleHarness:
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
def harness(backend: Backend) -> ThrottleHarness:
    harness = ThrottleHarness(backend, MemoryLogInThrottle(OPEN, backend.clock))
    harness.configure(OPEN)
    return harness


# --- three buckets ------------------------------------------------------------------------------


async def test_attempts_on_one_account_are_limited_wherever_they_come_from(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, account=Limit(10, 300)))
    for n in range(10):
        await harness.reserve(replace(OWNER, address=f"198.51.100.{n}", device=f"device {n}"))
    assert await harness.wait_for(ATTACKER) == 30 * SECOND
    await harness.clock.pass_time(29 * SECOND)
    assert await harness.wait_for(ATTACKER) == SECOND
    await harness.clock.pass_time(SECOND)
    assert await harness.attempts(ATTACKER) == 1


@pytest.mark.parametrize(
    "spelling",
    ["ADA.LOVELACE", "  ada.lovelace\n", "\uff41\uff44\uff41.lovelace", "ADA.lovelace\u3000"],
)
async def test_spellings_of_one_name_are_one_account(
    harness: ThrottleHarness, spelling: str
) -> None:
    harness.configure(replace(OPEN, account=Limit(2, 300)))
    unknown = replace(OWNER, user_id=None)
    await harness.reserve(unknown)
    await harness.reserve(replace(unknown, name=spelling))
    await harness.wait_for(unknown)
    assert await harness.attempts(replace(unknown, name="charles.babbage")) == 2


async def test_all_names_of_one_user_are_one_account_which_no_other_name_is(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, account=Limit(2, 300)))
    by_email = replace(OWNER, name="ada@example.org")
    await harness.reserve(OWNER)
    await harness.reserve(by_email)
    await harness.wait_for(OWNER)
    await harness.wait_for(replace(OWNER, name="renamed.since"))
    unknown = replace(OWNER, user_id=None)
    assert await harness.attempts(unknown) == 2  # the same name when no user has it
    assert await harness.attempts(replace(OWNER, user_id=UserId(UUID(int=2)))) == 2
    assert await harness.attempts(replace(unknown, name=f"user {ADA}")) == 2


@pytest.mark.parametrize("name", ["", "\ud800", "a" * 5000, "no one@nowhere", "{log-in}", "a\x00b"])
async def test_any_text_may_be_tried_as_a_name_and_is_limited(
    harness: ThrottleHarness, name: str
) -> None:
    harness.configure(replace(OPEN, account=Limit(2, 300)))
    assert await harness.attempts(replace(OWNER, user_id=None, name=name)) == 2


async def test_attempts_from_one_address_are_limited_whomever_they_are_for(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, address=Limit(3, 300)))
    for n in range(3):
        await harness.reserve(replace(OWNER, user_id=UserId(UUID(int=n)), device=f"device {n}"))
    assert await harness.wait_for(OWNER) == 100 * SECOND
    await harness.reserve(replace(OWNER, address="192.0.2.2"))


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
    harness: ThrottleHarness, one: str, other: str
) -> None:
    harness.configure(replace(OPEN, address=Limit(1, 300)))
    await harness.reserve(replace(OWNER, address=one))
    await harness.wait_for(replace(OWNER, address=other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:2::1"),
        ("2001:db8:1::1", "2001:db8:2::1"),
        ("192.0.2.7", "192.0.2.8"),
        ("::1", "127.0.0.1"),
    ],
)
async def test_neighbours_do_not_pay_for_each_other(
    harness: ThrottleHarness, one: str, other: str
) -> None:
    harness.configure(replace(OPEN, address=Limit(1, 300)))
    await harness.reserve(replace(OWNER, address=one))
    await harness.reserve(replace(OWNER, address=other))


async def test_all_attempts_together_are_limited(harness: ThrottleHarness) -> None:
    harness.configure(replace(OPEN, global_=Limit(4, 60)))
    for n in range(4):
        await harness.reserve(
            LogInAttempt(
                name=f"user-{n}", user_id=None, address=f"192.0.2.{n}", device=f"device {n}"
            )
        )
    assert await harness.wait_for(OWNER) == 15 * SECOND


async def test_a_refused_attempt_pays_in_no_bucket(harness: ThrottleHarness) -> None:
    harness.configure(
        replace(OPEN, account=Limit(2, 300), address=Limit(5, 300), global_=Limit(9, 300))
    )
    for _ in range(50):
        await harness.attempts(OWNER)
    unknown = replace(OWNER, user_id=None)
    assert await harness.attempts(replace(unknown, name="another", address="198.51.100.1")) == 2
    neighbour = [replace(unknown, name=f"user-{n}") for n in range(4)]
    assert [await harness.attempts(n) for n in neighbour] == [2, 1, 0, 0]
    assert await harness.attempts(replace(unknown, name="third", address="198.51.100.2")) == 2


async def test_a_refusal_names_the_longest_wait(harness: ThrottleHarness) -> None:
    harness.configure(
        replace(OPEN, account=Limit(1, 60), address=Limit(1, 3600), global_=Limit(1, 5))
    )
    await harness.reserve()
    assert await harness.wait_for() == HOUR
    await harness.clock.pass_time(HOUR)
    await harness.reserve()


async def test_of_many_attempts_at_the_same_time_only_the_allowed_ones_pass(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, account=Limit(10, 300)))
    answers = await asyncio.gather(*(harness.reserve() for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(answer, Reservation) for answer in answers) == 10
    assert sum(isinstance(answer, Throttled) for answer in answers) == 40


# --- success ------------------------------------------------------------------------------------


async def test_a_success_costs_the_account_nothing(harness: ThrottleHarness) -> None:
    harness.configure(replace(OPEN, account=Limit(2, 300)))
    for n in range(20):
        await harness.succeed(replace(OWNER, address=f"192.0.2.{n}"))
    assert await harness.attempts(ATTACKER) == 2


async def test_a_success_gives_one_attempt_back_and_not_those_that_failed(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, account=Limit(3, 300), lock_after=100))
    await harness.fail(ATTACKER)
    await harness.succeed(OWNER)
    assert await harness.attempts(ATTACKER) == 2


async def test_giving_back_twice_saves_nothing_up(harness: ThrottleHarness) -> None:
    harness.configure(replace(OPEN, account=Limit(2, 300)))
    reservation = await harness.reserve()
    for _ in range(5):
        await harness.throttle.succeeded(reservation)
    assert await harness.attempts(ATTACKER) == 2


async def test_a_success_may_take_longer_than_its_attempt_is_remembered(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, account=Limit(2, 300)))
    reservation = await harness.reserve()
    await harness.clock.pass_time(DAY)
    await harness.throttle.succeeded(reservation)
    assert await harness.attempts(ATTACKER) == 2


async def test_a_success_still_costs_its_address(harness: ThrottleHarness) -> None:
    """An attacker with an account of their own must not refill the bucket by logging in."""
    harness.configure(replace(OPEN, address=Limit(3, 300)))
    without = replace(OWNER, device=None)
    for _ in range(3):
        await harness.succeed(without)
    await harness.wait_for(without)


async def test_a_success_on_a_known_device_still_costs_the_device_what_it_would_cost_its_address(
    harness: ThrottleHarness,
) -> None:
    """Each is a password to verify, and a known device pays in no other bucket."""
    harness.configure(replace(OPEN, address=Limit(3, 300)))
    await harness.succeed()
    for n in range(3):
        await harness.succeed(replace(OWNER, address=f"192.0.2.{n}"))
    assert await harness.wait_for() == 100 * SECOND


# --- locks --------------------------------------------------------------------------------------


async def test_five_failures_in_a_row_lock_the_account_for_a_while(
    harness: ThrottleHarness,
) -> None:
    await harness.fail(ATTACKER, times=4)
    assert not await harness.is_locked(OWNER)
    await harness.clock.pass_time(30 * SECOND)
    await harness.fail(ATTACKER)
    assert await harness.is_locked(OWNER)
    assert await harness.is_locked(ATTACKER)
    await harness.clock.pass_time(29 * SECOND)
    assert await harness.is_locked(OWNER)
    await harness.clock.pass_time(SECOND)
    assert not await harness.is_locked(OWNER)


async def test_a_lock_starts_when_the_failure_is_known(harness: ThrottleHarness) -> None:
    """Between reserving an attempt and the failure lies the time that a password takes to verify."""
    await harness.fail(times=4)
    reservation = await harness.reserve()
    await harness.clock.pass_time(20 * SECOND)
    await harness.throttle.failed(reservation)
    await harness.clock.pass_time(29 * SECOND)
    assert await harness.is_locked()
    await harness.clock.pass_time(SECOND)
    assert not await harness.is_locked()


async def test_each_further_failure_doubles_the_lock_up_to_the_longest(
    harness: ThrottleHarness,
) -> None:
    await harness.fail(times=5)
    for seconds in (30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600):
        await harness.clock.pass_time(timedelta(seconds=seconds) - SECOND)
        assert await harness.is_locked()
        await harness.clock.pass_time(SECOND)
        await harness.fail()


async def test_a_success_forgets_the_failures(harness: ThrottleHarness) -> None:
    await harness.fail(times=4)
    await harness.succeed()
    stranger = replace(OWNER, device="another")
    await harness.fail(stranger, times=4)
    assert not await harness.is_locked(stranger)


async def test_a_locked_attempt_pays_but_is_no_further_failure(harness: ThrottleHarness) -> None:
    harness.configure(replace(OPEN, account=Limit(10, 3600)))
    await harness.fail(times=5)
    for _ in range(5):
        reservation = await harness.reserve()
        assert reservation.locked
        await harness.throttle.failed(reservation)
    await harness.wait_for()
    await harness.clock.pass_time(HOUR)
    await harness.fail()
    await harness.clock.pass_time(MINUTE)
    assert not await harness.is_locked()


async def test_a_day_after_the_last_failure_all_are_forgotten(harness: ThrottleHarness) -> None:
    await harness.fail(times=4)
    await harness.clock.pass_time(DAY)
    await harness.fail(times=4)
    assert not await harness.is_locked()


async def test_failures_far_apart_are_still_in_a_row_within_a_day(harness: ThrottleHarness) -> None:
    for _ in range(5):
        await harness.clock.pass_time(20 * HOUR)
        await harness.fail()
    assert await harness.is_locked()


async def test_a_lock_lasts_however_long_it_is(harness: ThrottleHarness) -> None:
    harness.configure(replace(OPEN, first_lock=3 * DAY, longest_lock=3 * DAY))
    await harness.fail(times=5)
    await harness.clock.pass_time(3 * DAY - SECOND)
    assert await harness.is_locked()
    await harness.clock.pass_time(SECOND)
    assert not await harness.is_locked()


async def test_two_guesses_at_once_do_not_both_slip_in_before_the_lock(
    harness: ThrottleHarness,
) -> None:
    await harness.fail(times=5)
    await harness.clock.pass_time(30 * SECOND)
    guesses = await asyncio.gather(*(harness.reserve() for _ in range(10)))
    assert [guess.locked for guess in guesses].count(False) == 1


async def test_a_right_password_frees_the_account_that_its_attempt_held(
    harness: ThrottleHarness,
) -> None:
    await harness.fail(times=4)
    await harness.succeed()
    assert not await harness.is_locked()
    assert not await harness.is_locked(ATTACKER)


async def test_an_attempt_without_an_outcome_locks_the_account_for_the_first_lock_only(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, lock_after=1))
    await harness.reserve()
    await harness.clock.pass_time(29 * SECOND)
    assert await harness.is_locked()
    await harness.clock.pass_time(SECOND)
    assert not await harness.is_locked()


async def test_accounts_that_do_not_exist_are_locked_alike(harness: ThrottleHarness) -> None:
    unknown = replace(OWNER, name="no such user at all", user_id=None)
    await harness.fail(unknown, times=5)
    assert await harness.is_locked(unknown)


# --- known devices ------------------------------------------------------------------------------


async def test_an_attacker_cannot_lock_the_owner_out_of_a_known_device(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, account=Limit(10, 300)))
    await harness.succeed(OWNER)
    await harness.fail(ATTACKER, times=5)
    await harness.attempts(ATTACKER)

    reservation = await harness.reserve(OWNER)

    assert reservation == Reservation(attempt=OWNER, locked=False, known_device=True)


async def test_a_known_device_has_a_bucket_and_a_lock_of_its_own(harness: ThrottleHarness) -> None:
    harness.configure(replace(OPEN, account=Limit(6, 300)))
    await harness.succeed(OWNER)
    await harness.fail(OWNER, times=5)
    assert await harness.is_locked(OWNER)
    await harness.wait_for(OWNER)
    assert not await harness.is_locked(ATTACKER)
    await harness.clock.pass_time(300 * SECOND)
    await harness.succeed(OWNER)
    assert not await harness.is_locked(OWNER)


async def test_a_device_is_known_by_its_token_wherever_it_is_and_by_nothing_else(
    harness: ThrottleHarness,
) -> None:
    """The owner's phone, in another network."""
    await harness.succeed(OWNER)
    assert (await harness.reserve(OWNER)).known_device
    assert (await harness.reserve(replace(OWNER, address=ATTACKER.address))).known_device
    for token in (None, "", "another", "a token "):
        assert not (await harness.reserve(replace(OWNER, device=token))).known_device


async def test_a_device_is_known_by_the_token_that_it_was_handed_not_by_the_one_it_showed(
    harness: ThrottleHarness,
) -> None:
    """Otherwise an attacker who can plant a cookie in a browser has a known device as soon as its owner logs in."""
    planted = replace(OWNER, device="planted")
    await harness.throttle.succeeded(await harness.reserve(planted), device="handed out")
    assert not (await harness.reserve(planted)).known_device
    assert (await harness.reserve(replace(OWNER, device="handed out"))).known_device


async def test_a_success_without_a_token_to_hand_out_makes_no_device_known(
    harness: ThrottleHarness,
) -> None:
    await harness.throttle.succeeded(await harness.reserve())
    assert not (await harness.reserve()).known_device


async def test_others_behind_the_same_address_do_not_lock_a_known_device_out(
    harness: ThrottleHarness,
) -> None:
    """Not even with the same browser: a colleague, or everybody else behind a carrier's address."""
    harness.configure(
        replace(OPEN, account=Limit(10, 300), address=Limit(30, 300), global_=Limit(50, 300))
    )
    await harness.succeed(OWNER)
    colleague = replace(OWNER, device=None)
    await harness.fail(colleague, times=8)
    others = [replace(colleague, user_id=UserId(UUID(int=n))) for n in range(2, 12)]
    for other in others:
        await harness.attempts(other)
    await harness.wait_for(replace(colleague, user_id=UserId(UUID(int=99))))

    reservation = await harness.reserve(OWNER)

    assert (reservation.locked, reservation.known_device) == (False, True)


async def test_one_site_with_all_its_networks_locks_no_known_device_out_and_leaves_room_for_others(
    harness: ThrottleHarness,
) -> None:
    harness.configure(replace(OPEN, address=Limit(3, 300), global_=Limit(50, 300)))
    await harness.succeed(OWNER)
    passed = 0
    for n in range(100):
        unknown = LogInAttempt(name=f"unknown-{n}", user_id=None, address=f"2001:db8:0:{n:x}::1")
        try:
            await harness.reserve(unknown)
        except Throttled:
            continue
        passed += 1

    assert passed == 30
    assert (await harness.reserve(OWNER)).known_device
    for n in range(19):  # the owner's own first log-in was one of the fifty
        await harness.reserve(replace(OWNER, device=None, address=f"198.51.100.{n}"))
    await harness.wait_for(replace(OWNER, device=None, address="198.51.100.99"))
    assert (await harness.reserve(OWNER)).known_device


async def test_the_devices_of_a_user_are_forgotten_but_the_one_to_keep(
    harness: ThrottleHarness,
) -> None:
    phone, other = replace(OWNER, device="phone"), replace(OWNER, user_id=UserId(UUID(int=2)))
    for attempt in (OWNER, phone, other):
        await harness.succeed(attempt)

    await harness.throttle.forget_devices(ADA, keep=phone.device)

    known = [(await harness.reserve(attempt)).known_device for attempt in (OWNER, phone, other)]
    assert known == [False, True, True]
    await harness.clock.pass_time(89 * DAY)
    assert (await harness.reserve(phone)).known_device
    await harness.clock.pass_time(DAY)
    assert not (await harness.reserve(phone)).known_device


@pytest.mark.parametrize("keep", [None, "", "unknown"])
async def test_an_unknown_device_token_is_not_kept(
    harness: ThrottleHarness, keep: str | None
) -> None:
    await harness.throttle.forget_devices(ADA, keep=keep)
    await harness.succeed(OWNER)
    await harness.throttle.forget_devices(ADA, keep=keep)
    for token in (OWNER.device, keep):
        assert not (await harness.reserve(replace(OWNER, device=token))).known_device


async def test_a_device_is_known_to_the_account_that_it_logged_in_to(
    harness: ThrottleHarness,
) -> None:
    await harness.succeed(OWNER)
    for other in (UserId(UUID(int=2)), None):
        assert not (await harness.reserve(replace(OWNER, user_id=other))).known_device


async def test_a_device_becomes_known_by_a_success_and_by_nothing_else(
    harness: ThrottleHarness,
) -> None:
    await harness.fail(OWNER)
    assert not (await harness.reserve(OWNER)).known_device


async def test_a_device_is_remembered_from_its_last_log_in_on_for_as_long_as_configured(
    harness: ThrottleHarness,
) -> None:
    await harness.succeed(OWNER)
    await harness.clock.pass_time(60 * DAY)
    await harness.succeed(OWNER)
    await harness.clock.pass_time(89 * DAY)
    assert (await harness.reserve(OWNER)).known_device
    await harness.clock.pass_time(DAY)
    assert not (await harness.reserve(OWNER)).known_device


async def test_a_device_is_forgotten_though_another_one_of_its_account_is_still_known(
    harness: ThrottleHarness,
) -> None:
    another = replace(OWNER, device="another")
    await harness.succeed(OWNER)
    await harness.clock.pass_time(60 * DAY)
    await harness.succeed(another)
    await harness.clock.pass_time(30 * DAY)
    assert not (await harness.reserve(OWNER)).known_device
    assert (await harness.reserve(another)).known_device


async def test_twenty_devices_are_known_and_the_one_used_longest_ago_makes_room(
    harness: ThrottleHarness,
) -> None:
    devices = [replace(OWNER, device=f"device {n}") for n in range(21)]
    for device in (*devices[:20], devices[0], devices[20]):
        await harness.succeed(device)
        await harness.clock.pass_time(SECOND)
    known = [(await harness.reserve(device)).known_device for device in devices]
    assert known == [True, False, *[True] * 19]
