"""Passwords: how they are hashed, in which threads, and which are too common."""

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest
from argon2 import extract_parameters
from argon2.exceptions import VerifyMismatchError

from adapters.security.common_passwords import ZxcvbnCommonPasswords
from adapters.security.password_hasher import Argon2PasswordHasher
from adapters.security.pool import HashingPool
from application.settings import PasswordSettings
from domain.errors import Unavailable
from domain.identity import Password

FAST = PasswordSettings(argon2_memory_kib=8, argon2_time_cost=1)


@pytest.fixture
def pool() -> Iterator[HashingPool]:
    pool = HashingPool(PasswordSettings(hashing_workers=1, hashing_queue=1))
    yield pool
    pool.close()


class Work:
    """A call that a test can see begin, and lets end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._may_end = threading.Event()

    def __call__(self) -> str:
        self._loop.call_soon_threadsafe(self.begun.set)
        self._may_end.wait(timeout=60)
        return "done"

    def end(self) -> None:
        self._may_end.set()


# --- the pool -----------------------------------------------------------------------------------


async def test_a_call_runs_in_a_thread_of_the_pool_and_gives_its_result(pool: HashingPool) -> None:
    assert (await pool.run(threading.current_thread)).name.startswith("hashing")
    assert await pool.run(int, "ff", base=16) == 255


async def test_an_error_of_the_call_reaches_its_caller_and_frees_its_place(
    pool: HashingPool,
) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 1, 0)


async def test_the_event_loop_goes_on_meanwhile(pool: HashingPool) -> None:
    work = Work()
    call = asyncio.create_task(pool.run(work))
    await work.begun.wait()

    work.end()

    assert await call == "done"


async def test_a_pool_runs_as_many_calls_at_once_as_it_has_workers() -> None:
    pool = HashingPool(PasswordSettings(hashing_workers=3, hashing_queue=0))
    together = threading.Barrier(3)

    await asyncio.gather(*(pool.run(together.wait) for _ in range(3)))

    pool.close()


async def test_a_call_that_finds_the_queue_full_fails_at_once(pool: HashingPool) -> None:
    work = Work()
    running = asyncio.create_task(pool.run(work))
    await work.begun.wait()
    waiting = asyncio.create_task(pool.run(int))
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await pool.run(int)

    work.end()
    assert await running == "done"
    assert await waiting == 0


async def test_a_cancelled_caller_keeps_the_place_until_the_work_has_ended() -> None:
    """Otherwise clients that hang up early could start more hashes than there are cores."""
    pool = HashingPool(PasswordSettings(hashing_workers=1, hashing_queue=0))
    work = Work()
    caller = asyncio.create_task(pool.run(work))
    await work.begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    with pytest.raises(Unavailable):
        await pool.run(int)

    work.end()
    assert await eventually(pool) == 0
    pool.close()


async def test_a_caller_cancelled_in_the_queue_gives_the_place_up(pool: HashingPool) -> None:
    first, never, second = Work(), Work(), Work()
    running = asyncio.create_task(pool.run(first))
    await first.begun.wait()
    waiting = asyncio.create_task(pool.run(never))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    next_one = asyncio.create_task(pool.run(second))
    first.end()
    second.end()

    assert await running == "done"
    assert await next_one == "done"
    assert not never.begun.is_set()


async def test_a_closed_pool_takes_nothing_more() -> None:
    pool = HashingPool(PasswordSettings())
    pool.close()

    with pytest.raises(Unavailable):
        await pool.run(int)


async def test_closing_waits_for_what_runs_and_cancels_what_waits(pool: HashingPool) -> None:
    work = Work()
    running = asyncio.create_task(pool.run(work))
    await work.begun.wait()
    waiting = asyncio.create_task(pool.run(int))
    await asyncio.sleep(0)

    closing = asyncio.create_task(asyncio.to_thread(pool.close))

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not closing.done()
    work.end()
    await closing
    assert await running == "done"


def test_a_pool_has_no_thread_before_its_first_call() -> None:
    before = threading.active_count()

    HashingPool(PasswordSettings(hashing_workers=8)).close()

    assert threading.active_count() == before


async def eventually(pool: HashingPool) -> int:
    """Return what a call gives as soon as it is accepted."""
    while True:
        try:
            return await pool.run(int)
        except Unavailable:
            await asyncio.sleep(0.001)


# --- argon2 -------------------------------------------------------------------------------------


async def test_a_hash_is_argon2id_with_the_parameters_of_owasp(pool: HashingPool) -> None:
    hasher = Argon2PasswordHasher(pool, PasswordSettings())

    stored = await hasher.hash(Password("correct horse battery staple"))

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await hasher.verify(Password("correct horse battery staple"), stored)


@pytest.mark.parametrize(
    "changed",
    [
        PasswordSettings(argon2_memory_kib=16, argon2_time_cost=1),
        PasswordSettings(argon2_memory_kib=8, argon2_time_cost=2),
        PasswordSettings(argon2_memory_kib=16, argon2_time_cost=1, argon2_parallelism=2),
    ],
    ids=["memory", "time", "parallelism"],
)
async def test_a_hash_of_other_parameters_is_still_verified_and_wants_a_new_one(
    pool: HashingPool, changed: PasswordSettings
) -> None:
    stored = await Argon2PasswordHasher(pool, FAST).hash(Password("a password"))
    hasher = Argon2PasswordHasher(pool, changed)

    assert await hasher.verify(Password("a password"), stored)
    assert hasher.needs_rehash(stored)
    assert not Argon2PasswordHasher(pool, FAST).needs_rehash(stored)


async def test_a_missing_hash_costs_as_much_to_verify_as_a_hash_of_today(
    pool: HashingPool,
) -> None:
    """The cost of argon2 is decided by its parameters, which it reads from the hash."""
    hasher = Argon2PasswordHasher(pool, FAST)

    nobodys = extract_parameters(hasher._nobodys)

    assert nobodys == extract_parameters(await hasher.hash(Password("a password")))
    with pytest.raises(VerifyMismatchError):  # not `VerificationError`: argon2 did read it
        hasher._argon2.verify(hasher._nobodys, "a password")


async def test_a_flood_of_log_ins_is_turned_away_rather_than_queued_for_ever() -> None:
    pool = HashingPool(PasswordSettings(hashing_workers=2, hashing_queue=4))
    hasher = Argon2PasswordHasher(pool, FAST)

    outcomes = await asyncio.gather(
        *(hasher.verify(Password("a password"), None) for _ in range(20)), return_exceptions=True
    )

    assert outcomes.count(False) >= 6
    assert {type(outcome) for outcome in outcomes} == {bool, Unavailable}
    pool.close()


# --- common passwords ---------------------------------------------------------------------------


def test_common_passwords_are_known_in_their_folded_form() -> None:
    common = ZxcvbnCommonPasswords()

    assert "password" in common
    assert "iloveyou" in common
    assert "correct horse battery staple" not in common
    assert "" not in common


async def test_the_list_is_not_read_before_it_is_asked() -> None:
    program = (
        "import sys; from adapters.security.common_passwords import ZxcvbnCommonPasswords as C;"
        "common = C(); assert 'zxcvbn' not in sys.modules; assert 'qwerty' in common"
    )

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)

    assert await process.wait() == 0
