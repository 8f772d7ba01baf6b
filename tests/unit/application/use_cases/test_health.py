"""Readiness: every dependency is asked at once, not too often, and never for too long."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from application.ports.health import Probe
from application.use_cases.health import CheckReadiness, Readiness
from domain.errors import Unavailable
from tests.support.clock import MovableClock


@dataclass
class AProbe(Probe):
    """A dependency that does what the test says, and notes when it was asked."""

    name: str
    behaviour: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
    asked: int = 0
    required: bool = True

    async def check(self) -> None:
        self.asked += 1
        await self.behaviour()


async def hang() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise ConnectionRefusedError


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


def readiness(
    clock: MovableClock, *probes: Probe, timeout: timedelta = timedelta(seconds=30)
) -> CheckReadiness:
    return CheckReadiness(probes=probes, clock=clock, timeout=timeout)


async def test_a_process_without_dependencies_is_ready(clock: MovableClock) -> None:
    assert await readiness(clock)() == Readiness(up=(), down=())


async def test_a_dependency_that_is_down_is_named(clock: MovableClock) -> None:
    answer = await readiness(clock, AProbe("postgres"), AProbe("redis", fail))()

    assert answer == Readiness(up=("postgres",), down=("redis",))
    assert not answer.is_ready


async def test_a_process_without_what_only_a_part_needs_is_ready_and_degraded(
    clock: MovableClock,
) -> None:
    answer = await readiness(clock, AProbe("redis"), AProbe("mongo", fail, required=False))()

    assert (answer.up, answer.down, answer.degraded) == (("redis",), (), ("mongo",))
    assert answer.is_ready


async def test_why_something_is_down_is_known_unless_it_might_be_a_secret(
    clock: MovableClock,
) -> None:
    async def refuse() -> None:
        raise Unavailable("PostgreSQL", reason="the database does not exist")

    async def reveal() -> None:
        raise ValueError("postgresql://ada:hunter2@db")

    answer = await readiness(
        clock, AProbe("postgres", refuse), AProbe("redis", reveal), AProbe("mongo")
    )()

    assert answer.reasons == {"postgres": "the database does not exist", "redis": "ValueError"}


async def test_a_dependency_that_hangs_is_down_and_delays_no_client_for_long(
    clock: MovableClock,
) -> None:
    probes = (AProbe("postgres", hang), AProbe("redis", hang), AProbe("mongo"))

    answer = await readiness(clock, *probes, timeout=timedelta(milliseconds=20))()

    assert answer == Readiness(up=("mongo",), down=("postgres", "redis"))


async def test_an_answer_is_good_for_a_second(clock: MovableClock) -> None:
    probe = AProbe("redis")
    check = readiness(clock, probe)
    assert (await check()).is_ready

    probe.behaviour = fail
    await clock.pass_time(timedelta(milliseconds=999))
    assert (await check()).is_ready

    await clock.pass_time(timedelta(milliseconds=1))
    assert not (await check()).is_ready

    probe.behaviour = lambda: asyncio.sleep(0)
    await clock.pass_time(timedelta(seconds=1))
    assert (await check()).is_ready


async def test_however_many_ask_at_once_each_dependency_is_asked_once(
    clock: MovableClock,
) -> None:
    probe = AProbe("redis")
    check = readiness(clock, probe)

    answers = await asyncio.gather(*(check() for _ in range(20)))

    assert all(answer.is_ready for answer in answers)
    assert probe.asked == 1


async def test_optional_dependencies_delay_readiness_only_until_their_first_answer(
    clock: MovableClock,
) -> None:
    """Its last answer stands until the next one has come."""
    answer_now = asyncio.Event()

    async def fail_later() -> None:
        await answer_now.wait()
        raise ConnectionRefusedError

    redis, mongo = AProbe("redis"), AProbe("mongo", required=False)
    check = readiness(clock, redis, mongo)
    check.grace = timedelta(0)
    assert (await check()).degraded == ()

    mongo.behaviour = fail_later
    await clock.pass_time(timedelta(seconds=1))
    assert (await check()).degraded == ()
    await clock.pass_time(timedelta(seconds=1))
    assert (await check()).degraded == ()
    assert (redis.asked, mongo.asked) == (3, 2)

    answer_now.set()
    await asyncio.sleep(0)
    assert (await check()).degraded == ("mongo",)


async def test_a_client_that_disconnects_during_the_check_leaves_the_next_one_an_answer(
    clock: MovableClock,
) -> None:
    asked = asyncio.Event()
    answer_now = asyncio.Event()

    async def wait() -> None:
        asked.set()
        await answer_now.wait()

    check = readiness(clock, AProbe("redis", wait))
    first, second = asyncio.create_task(check()), asyncio.create_task(check())
    await asked.wait()
    first.cancel()
    answer_now.set()

    assert (await second).is_ready
    with pytest.raises(asyncio.CancelledError):
        await first
