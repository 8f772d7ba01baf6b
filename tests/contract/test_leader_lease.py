"""What `LeaderLease` promises: of all beats one leads, for as long as its lease."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from application.ports.leader_lease import (
    BeatId,
    BeatReport,
    Leadership,
)
from tests.support.beat_store_harness import (
    FIRST_BEAT,
    LONG,
    REPORT,
    SECOND_BEAT,
    BeatStoreHarness,
)
from tests.support.builders import a_uuid
from tests.support.clock import SECOND
from tests.support.scheduling_stores import (
    BeatStore,
    SchedulingBackend,
)

LEASE = timedelta(seconds=15)


@pytest.fixture
def beat(scheduling: SchedulingBackend) -> BeatStore:
    return scheduling.beat()


async def test_one_beat_leads_for_as_long_as_it_says_so(harness: BeatStoreHarness) -> None:
    leadership = await harness.lead()

    assert await harness.other.lead(SECOND_BEAT, lease=LONG, report=REPORT) is None
    assert await harness.beat.lead(FIRST_BEAT, lease=LONG, report=REPORT) == leadership


async def test_when_the_lease_is_over_another_beat_leads_in_another_epoch(
    harness: BeatStoreHarness,
) -> None:
    first = await harness.lead()
    await harness.lapse()

    second = await harness.other.lead(SECOND_BEAT, lease=LONG, report=REPORT)

    assert second == Leadership(beat=SECOND_BEAT, epoch=first.epoch + 1)
    assert await harness.beat.lead(FIRST_BEAT, lease=LONG, report=REPORT) is None


async def test_a_beat_that_comes_back_after_a_pause_leads_in_another_epoch(
    harness: BeatStoreHarness,
) -> None:
    first = await harness.lead()
    await harness.lapse()

    again = await harness.lead()

    assert again.epoch > first.epoch


async def test_a_leader_that_hands_over_does_not_make_the_next_one_wait(
    harness: BeatStoreHarness,
) -> None:
    leadership = await harness.lead()

    await harness.beat.release(leadership)

    assert await harness.other.lead(SECOND_BEAT, lease=LONG, report=REPORT) is not None


async def test_a_former_leader_cannot_hand_over(harness: BeatStoreHarness) -> None:
    first = await harness.lead()
    await harness.beat.release(first)
    second = await harness.other.lead(SECOND_BEAT, lease=LONG, report=REPORT)

    await harness.beat.release(first)

    assert await harness.beat.lead(FIRST_BEAT, lease=LONG, report=REPORT) is None
    assert await harness.other.lead(SECOND_BEAT, lease=LONG, report=REPORT) == second


async def test_of_many_that_want_to_lead_one_does(harness: BeatStoreHarness) -> None:
    beats = [BeatId(UUID(int=n)) for n in range(1, 9)]

    answers = await asyncio.gather(
        *(harness.beat.lead(beat, lease=LONG, report=REPORT) for beat in beats)
    )

    assert sum(answer is not None for answer in answers) == 1


async def test_the_status_says_who_leads_and_what_it_reports(harness: BeatStoreHarness) -> None:
    none = await harness.beat.status()
    leadership = await harness.lead()
    somebody = await harness.other.status()

    assert (none.report, none.epoch, none.leads, none.leads_until) == (None, 0, False, None)
    assert (somebody.report, somebody.epoch, somebody.leads) == (REPORT, leadership.epoch, True)
    assert somebody.leads_until is not None


async def lead(store: BeatStore, beat: BeatId) -> Leadership | None:
    return await store.lead(beat, lease=LEASE, report=BeatReport(name="a beat"))


async def test_a_leader_that_renews_its_lease_goes_on(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    first, second = BeatId(a_uuid()), BeatId(a_uuid())
    leadership = await lead(beat, first)
    for _ in range(5):
        await scheduling.pass_time(LEASE / 3)
        assert await lead(beat, first) == leadership
        assert await lead(beat, second) is None


async def test_the_store_tells_its_time(scheduling: SchedulingBackend, beat: BeatStore) -> None:
    before = scheduling.now()

    assert before - SECOND <= await beat.now() <= scheduling.now() + SECOND


async def test_a_standby_beat_may_report_while_no_beat_leads(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    me = BeatId(a_uuid())
    report = BeatReport(name="me", problem="its clock is wrong\0\ud800")

    await beat.report_standby(me, report)
    none = await beat.status()
    leadership = await lead(scheduling.beat(), BeatId(a_uuid()))
    assert leadership is not None
    await beat.report_standby(me, report)
    somebody = await beat.status()
    await scheduling.pass_time(LEASE + SECOND)
    await beat.report_standby(me, report)
    over = await beat.status()

    assert (none.leads, none.report and none.report.name) == (False, "me")
    assert (somebody.leads, somebody.report and somebody.report.name) == (True, "a beat")
    assert (over.leads, over.report and over.report.name) == (False, "me")
    assert over.epoch == leadership.epoch
    assert over.report is not None
    assert (over.report.problem or "").startswith("its clock is wrong")
    following = await lead(beat, BeatId(a_uuid()))
    assert following is not None
    assert following.epoch == leadership.epoch + 1
