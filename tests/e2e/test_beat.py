"""Beats in processes of their own, on PostgreSQL and Redis, that are killed, stopped, cut off and changed."""

import asyncio
import itertools
import json
import os
import platform
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from entrypoints.celery.beat_schedule import configured_id
from entrypoints.cli.errors import ExitCode
from tests.e2e.beat_processes import Stage, a_second_connection, a_stage, each_once
from tests.e2e.command import portico
from tests.support.clock import SECOND
from tests.support.link import link_to
from tests.support.servers import Servers

pytestmark = pytest.mark.server

KILLS = 2
GRACE = 3 * SECOND
FAKETIME = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketimeMT.so.1")


@pytest.fixture
async def stage(servers: Servers, worker: int, tmp_path: Path) -> AsyncIterator[Stage]:
    async with a_stage(servers, tmp_path, worker=worker) as stage:
        yield stage


async def stop_task(stage: Stage, task_id: UUID) -> None:
    """Stop a task and wait until all its slots have run."""
    await stage.sql("UPDATE periodic_tasks SET enabled = false WHERE id = $1", task_id)

    async def is_stopped() -> bool:
        runs = await stage.runs(task_id, "claimed", "published", "started")
        return not runs

    await asyncio.sleep(1)
    await stage.until(is_stopped, what="runs go on")


async def test_whichever_leader_is_killed_every_slot_runs_exactly_once(stage: Stage) -> None:
    """Two beats, a task of each second; the leader is killed, and another beat started."""
    task_id = await stage.define("seconds")
    beats = [stage.beat(), stage.beat()]
    stage.worker()
    await stage.until(lambda: len(stage.ran("seconds")) >= 2, what="nothing runs")
    for _ in range(KILLS):
        lease = await stage.leader()
        assert lease is not None
        leader = next(
            beat for beat in beats if f":{beat.process.pid}" in json.loads(lease["report"])["name"]
        )
        await asyncio.sleep(time.time() % 0.3)  # at any moment
        leader.kill()
        beats.remove(leader)
        beats.append(stage.beat())
        before = len(stage.ran("seconds"))
        await stage.until(
            lambda before=before: len(stage.ran("seconds")) > before + 2,  # type: ignore[misc]
            what="no beat took over",
        )

    await stop_task(stage, task_id)

    ran, runs = stage.ran("seconds"), await stage.runs(task_id)
    assert each_once(ran)
    assert ran == [run["scheduled_for"] for run in runs if run["state"] == "succeeded"]
    assert {run["state"] for run in runs} == {"succeeded"}
    schedule_state = await stage.sql("SELECT runs FROM schedule_states")
    assert schedule_state[0]["runs"] == len(ran)


async def test_a_leader_that_gets_sigterm_is_replaced_within_two_seconds(stage: Stage) -> None:
    """With a lease of a minute, so that it is not its end that helps."""
    task_id = await stage.define("tenths", every=0.1)
    leading = stage.beat(PORTICO_BEAT_LEASE="60s")
    await stage.until_somebody_leads()
    standby = stage.beat(PORTICO_BEAT_LEASE="60s")
    await stage.until(lambda: "is ready" in standby.said(), what="it does not come up")

    stopped_at = datetime.now(UTC)  # noqa: TID251 - a real clock is what is measured
    assert leading.terminate() == 0
    ended_at = datetime.now(UTC)  # noqa: TID251

    async def went_on() -> bool:
        return any(run["published_at"] > ended_at for run in await stage.runs(task_id, "published"))

    await stage.until(went_on, what="no beat took over")
    runs = await stage.runs(task_id, "published")
    longest = max(
        run["published_at"] - before["published_at"]
        for before, run in itertools.pairwise(runs)
        if run["published_at"] > stopped_at
    )
    assert longest < 2 * SECOND
    assert each_once([run["scheduled_for"] for run in runs], every=timedelta(milliseconds=100))
    lease = await stage.leader()
    assert lease is not None
    assert lease["epoch"] == 2


async def test_a_leader_that_hangs_while_it_publishes_is_replaced_and_says_what_it_hangs_in(
    stage: Stage,
) -> None:
    """Its event loop goes on, and could renew the lease for ever. No slot is lost, and none runs twice."""
    task_id = await stage.define("seconds")
    hanging = stage.beat(HANG="tests.hang")
    await stage.until(lambda: stage.runs(task_id, "published"), what="nothing runs")
    await stage.define("poisoned", task="tests.hang")
    await stage.until(lambda: "it hangs" in hanging.said(), what="it does not hang")

    async def says_so() -> bool:
        return (await stage.report())["problem"] is not None

    await stage.until(says_so, what="the lease is renewed by a beat that does nothing")
    assert await stage.leader() is None
    assert "publishing poisoned" in (await stage.report())["problem"]
    checked = portico("beat", "--check", directory=stage.directory, **stage.variables)
    assert checked.returncode == ExitCode.FAILED
    assert "publishing poisoned" in checked.stderr

    stage.worker()
    stage.beat()
    await stage.until(lambda: len(stage.ran("seconds")) > 10, what="no beat took over")

    assert (await stage.report())["problem"] is None
    assert hanging.process.poll() is None, "it still hangs"
    await stop_task(stage, task_id)
    assert each_once(stage.ran("seconds"))
    assert stage.ran("seconds") == [run["scheduled_for"] for run in await stage.runs(task_id)]


@pytest.mark.parametrize(
    ("number", "where"),
    [(signal.SIGTERM, "Python"), (signal.SIGINT, "Python"), (signal.SIGTERM, "C")],
)
async def test_a_beat_that_hangs_while_it_publishes_ends_within_seconds_of_a_signal_and_hands_over(
    stage: Stage, number: signal.Signals, where: str
) -> None:
    """With a lease of a minute, so that it is not its end that helps."""
    await stage.define("poisoned", task="tests.hang")
    hanging = stage.beat(HANG="tests.hang", HANG_IN=where, PORTICO_BEAT_LEASE="60s")
    await stage.until(lambda: "it hangs" in hanging.said(), what="it does not hang")

    start = time.monotonic()
    code = hanging.terminate(number)

    assert time.monotonic() - start < 8
    assert code == os.EX_SOFTWARE
    assert await stage.leader() is None


async def test_a_leader_whose_messages_do_not_get_out_says_so_until_they_do(
    servers: Servers, worker: int, tmp_path: Path
) -> None:
    async with (
        a_stage(servers, tmp_path, worker=worker) as stage,
        link_to(stage.variables["PORTICO_REDIS_URL"]) as link,
    ):
        here = stage.variables
        task_id = await stage.define("seconds")
        beat = stage.beat(PORTICO_REDIS_URL=link.url(here["PORTICO_REDIS_URL"]))
        await stage.until(lambda: stage.runs(task_id, "published"), what="nothing runs")
        await link.cut()

        async def has_a_problem() -> bool:
            return (await stage.report())["publishing"] is not None

        async def has_none() -> bool:
            return not await has_a_problem()

        async def checked() -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(portico, "beat", "--check", directory=tmp_path, **here)

        async def is_noticed() -> bool:
            return (await checked()).returncode != 0  # its last heartbeat may be of the time before

        await stage.until(has_a_problem, what="it does not say so")
        await stage.until(is_noticed, what="the check does not say so")
        refused = await checked()
        assert refused.returncode == ExitCode.FAILED
        assert "has published nothing since" in refused.stderr
        assert "refused" in refused.stderr

        await link.mend()
        await stage.until(has_none, what="it does not recover")
        assert (await checked()).returncode == 0
        assert beat.terminate() == 0


@pytest.mark.skipif(not FAKETIME.exists(), reason="needs libfaketime: apt-get install faketime")
async def test_a_beat_on_a_host_whose_clock_is_wrong_stands_by_until_it_is_right(
    stage: Stage, tmp_path: Path
) -> None:
    """Ten minutes behind when it starts; decades ahead while it leads, when it settles nothing of the future."""
    clock = tmp_path / "clock"
    clock.write_text("-600")
    task_id = await stage.define("seconds")
    stage.worker()
    beat = stage.beat(
        LD_PRELOAD=str(FAKETIME),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )

    async def says_why() -> bool:
        found = await stage.sql("SELECT report->>'problem' AS problem FROM beat_lease")
        return bool(found) and "its clock is" in (found[0]["problem"] or "")

    await stage.until(says_why, what="it does not say why it does not lead")
    assert await stage.leader() is None
    assert await stage.runs(task_id) == []

    clock.write_text("+0")
    await stage.until(lambda: len(stage.ran("seconds")) > 2, what="it does not lead")
    clock.write_text("+28000d")
    await stage.until(says_why, what="it goes on leading")
    clock.write_text("+0")
    before = len(stage.ran("seconds"))
    await stage.until(lambda: len(stage.ran("seconds")) > before + 2, what="it does not go on")

    assert beat.terminate() == 0
    await stop_task(stage, task_id)
    now = datetime.now(UTC)  # noqa: TID251 - a real clock is what is measured
    assert all(run["scheduled_for"] <= now for run in await stage.runs(task_id))
    (schedule_state,) = await stage.sql("SELECT handled_until FROM schedule_states")
    assert schedule_state["handled_until"] <= now + 5 * SECOND


async def test_every_committed_change_is_seen_from_any_writer_in_any_way(stage: Stage) -> None:
    """Raw SQL, in bulk, by a transaction that began first and committed last, by a clock that is wrong."""
    transaction = stage.database.transaction()
    late = await stage.define("other", enabled=False)
    await transaction.start()
    await stage.sql("UPDATE periodic_tasks SET enabled = true WHERE id = $1", late)
    async with a_second_connection(stage) as second:
        beat = stage.beat()
        await second.until(second.leader, what="no beat leads")
        quick = await second.define("quick")
        await second.until(lambda: second.runs(quick), within=5, what="an insert")
        wrong = "2001-01-01T00:00:00Z"
        await second.sql(
            "UPDATE periodic_tasks SET schedule = $1, updated_at = $2 WHERE id = $3",
            json.dumps({"every": 200, "period": "milliseconds"}),
            datetime.fromisoformat(wrong),
            quick,
        )
        seen = len(await second.runs(quick))

        async def is_quicker() -> bool:
            return len(await second.runs(quick)) > seen + 5

        await second.until(is_quicker, within=3, what="a writer whose clock is wrong")
        assert await second.runs(late) == []
        await transaction.commit()
        await second.until(lambda: second.runs(late), within=5, what="a late commit")
        await second.sql("UPDATE periodic_tasks SET enabled = false")
        await asyncio.sleep(0.5)
        count = len(await second.sql("SELECT 1 FROM task_runs"))
        await asyncio.sleep(1.2)
        assert len(await second.sql("SELECT 1 FROM task_runs")) == count
        await second.sql("DELETE FROM periodic_tasks")
        assert beat.process.poll() is None


async def test_a_row_that_breaks_the_rules_is_flagged_and_stops_no_other(stage: Stage) -> None:
    good = await stage.define("good")
    broken = await stage.define("broken", kind="crontab", schedule=json.dumps({"minute": "1,,2"}))
    stage.beat()

    async def is_flagged() -> bool:
        found = await stage.sql("SELECT problem FROM schedule_states WHERE task_id = $1", broken)
        return bool(found) and "minute" in (found[0]["problem"] or "")

    await stage.until(is_flagged, what="not flagged")
    await stage.until(lambda: stage.runs(good, "published"), what="the other does not run")

    await stage.sql(
        "UPDATE periodic_tasks SET kind = 'interval', schedule = $1 WHERE id = $2",
        json.dumps({"every": 1, "period": "seconds"}),
        broken,
    )

    await stage.until(lambda: stage.runs(broken, "published"), what="mended, it does not run")

    async def is_flagged_no_more() -> bool:
        return not await is_flagged()

    await stage.until(is_flagged_no_more, what="still flagged")


async def test_the_configuration_wins_over_the_database_and_its_options_arrive(
    stage: Stage,
) -> None:
    schedule = {
        "configured": {
            "task": "tests.note",
            "schedule": 1,
            "args": ["configured"],
            "options": {
                "queue": "elsewhere",
                "expires": 3600,
                "priority": 3,
                "headers": {"a": "b"},
            },
        }
    }
    row = await stage.define("configured")
    beat = stage.beat(BEAT_SCHEDULE=json.dumps(schedule))
    configured = configured_id("configured")
    await stage.until(lambda: stage.runs(configured, "published"), what="it does not run")
    assert await stage.runs(row) == []
    beat.terminate()

    (key,) = [key for key in stage.broker.keys("*elsewhere*") if stage.broker.type(key) == b"list"]
    message = json.loads(stage.broker.lindex(key, 0) or "")
    assert message["headers"]["a"] == "b"
    assert message["headers"]["periodic_task"] == str(configured)
    assert message["properties"]["priority"] == 3
    expires = datetime.fromisoformat(message["headers"]["expires"])
    assert timedelta(minutes=55) < expires - datetime.now(UTC) < timedelta(hours=1)  # noqa: TID251

    count = len(await stage.runs(configured))
    stage.beat()
    await stage.until(lambda: stage.runs(row, "published"), what="the row does not count again")
    assert len(await stage.runs(configured)) == count


async def test_misfire_and_grace_decide_about_slots_missed_without_a_beat(
    stage: Stage,
) -> None:
    beat = stage.beat()
    await stage.until_somebody_leads()
    soon = datetime.now(UTC) + SECOND  # noqa: TID251 - a real clock is what is measured
    together: dict[str, Any] = {"created_at": soon, "enabled_at": soon}
    skip = await stage.define("skip", misfire="skip", **together)
    once = await stage.define("once", misfire="run_once", **together)
    every = await stage.define("every", misfire="run_all", **together)
    graceful = await stage.define(
        "graceful", misfire="run_all", misfire_grace=GRACE.total_seconds(), **together
    )
    await stage.until(lambda: stage.runs(graceful, "published"), what="nothing runs")
    assert beat.terminate() == 0
    await asyncio.sleep(GRACE.total_seconds() + 1)
    stage.beat()
    not_yet = datetime.now(UTC)  # noqa: TID251

    async def somebody_leads() -> bool:
        nonlocal not_yet
        asked_at = datetime.now(UTC)  # noqa: TID251
        if await stage.leader():
            return True
        not_yet = asked_at
        return False

    await stage.until(somebody_leads, what="no beat leads")

    async def ran_again() -> bool:
        slots = [run["scheduled_for"] for run in await stage.runs(skip, "published")]
        return not each_once(slots) and each_once(slots[-3:])

    await stage.until(ran_again, what="they do not go on")
    until = (await stage.runs(skip, "published"))[-1]["scheduled_for"]

    async def missed(task_id: UUID) -> list[asyncpg.Record]:
        """Return the runs of a task for slots that the one that skips has skipped."""
        skipped = {run["scheduled_for"] for run in await stage.runs(skip)}
        runs = await stage.runs(task_id)
        return [
            each
            for each in runs
            if each["scheduled_for"] not in skipped and each["scheduled_for"] < until
        ]

    of_every, of_once, of_graceful = [await missed(each) for each in (every, once, graceful)]
    assert len(of_every) >= 3
    assert each_once([run["scheduled_for"] for run in await stage.runs(every)])
    assert [run["scheduled_for"] for run in of_once] == [of_every[-1]["scheduled_for"]]
    slots_of_every, slots_of_graceful = [
        [run["scheduled_for"] for run in runs] for runs in (of_every, of_graceful)
    ]
    # The beat decided after it began to lead, and before it published the first of them.
    published = [run["published_at"] for run in await stage.runs(graceful)]
    decided_by = min(at for at in published if at > not_yet)
    too_late = len(slots_of_every) - len(slots_of_graceful)
    assert slots_of_graceful == slots_of_every[too_late:]
    assert all(not_yet - slot <= GRACE for slot in slots_of_graceful)
    assert all(decided_by - slot > GRACE for slot in slots_of_every[:too_late])
    assert len(of_graceful) < len(of_every)


async def test_a_beat_survives_a_database_that_is_away_at_its_start_and_later(
    servers: Servers, worker: int, tmp_path: Path
) -> None:
    """For less than the lease and for more. Every slot runs, and is counted once."""
    async with (
        a_stage(servers, tmp_path, worker=worker) as stage,
        link_to(stage.variables["PORTICO_POSTGRES_URL"]) as link,
    ):
        stage.variables["PORTICO_POSTGRES_URL"] = link.url(stage.variables["PORTICO_POSTGRES_URL"])
        task_id = await stage.define("seconds")
        await link.cut()
        beats = [stage.beat(), stage.beat()]
        await asyncio.sleep(3)
        await link.mend()
        await stage.until(lambda: stage.runs(task_id), what="it does not recover")
        for seconds in (1, 4):
            await link.cut()
            await asyncio.sleep(seconds)
            await link.mend()
            count = len(await stage.runs(task_id))

            async def goes_on(count: int = count) -> bool:
                return len(await stage.runs(task_id)) > count + 2

            await stage.until(goes_on, what="it does not recover")
        assert all(beat.process.poll() is None for beat in beats)
        stage.worker()
        await stop_task(stage, task_id)

        ran = stage.ran("seconds")
        assert each_once(ran)
        assert ran == [run["scheduled_for"] for run in await stage.runs(task_id, "succeeded")]
        schedule_state = await stage.sql("SELECT runs FROM schedule_states")
        assert schedule_state[0]["runs"] == len(ran)
