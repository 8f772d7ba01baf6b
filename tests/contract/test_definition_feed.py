"""What `DefinitionFeed` promises about transactions that overlap, and definitions that cannot be read."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from application.ports.definition_feed import Changes
from application.ports.leader_lease import BeatId
from application.ports.run_claims import DueSlots
from domain.scheduling.periodic_tasks import UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from tests.support.builders import A_MOMENT, a_periodic_task, a_uuid
from tests.support.scheduling_stores import BeatStore, SchedulingBackend

LEASE = timedelta(seconds=15)
LATER = A_MOMENT + timedelta(hours=1)


def a_beat() -> BeatId:
    return BeatId(a_uuid())


def differences(changes: Changes, known: Changes) -> Mapping[PeriodicTaskId, object]:
    """Return what a beat learns from `changes` that it did not know: tasks, or None for those that are gone."""
    versions = {each.task.id: each.version for each in known.defined}
    gone = versions.keys() & set(changes.deleted) - {each.task.id for each in changes.defined}
    new = {
        each.task.id: each.task
        for each in changes.defined
        if versions.get(each.task.id) != each.version
    }
    return {**dict.fromkeys(gone), **new}


@pytest.fixture
def beat(scheduling: SchedulingBackend) -> BeatStore:
    return scheduling.beat()


# --- changes ---


async def test_an_uncommitted_change_is_no_change(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    loaded = await beat.load()
    async with scheduling.uow() as work:
        await work.periodic_tasks.add(a_periodic_task())
        during = await beat.changes(loaded.mark)
        assert differences(during, loaded) == {}

    assert differences(await beat.changes(during.mark), loaded) == {}


async def test_a_writer_that_begins_first_and_commits_last_is_not_missed(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    """Neither what it added nor what it removed."""
    gone = a_periodic_task()
    await scheduling.define(gone)
    loaded = await beat.load()
    slow, quick = a_periodic_task(), a_periodic_task()
    async with scheduling.uow() as work:
        await work.periodic_tasks.add(slow)
        await work.periodic_tasks.lock(gone.id)
        await work.periodic_tasks.delete(gone.id)
        await scheduling.define(quick)
        during = await beat.changes(loaded.mark)
        assert differences(during, loaded) == {quick.id: quick}
        await work.commit()

    after = await beat.changes(during.mark)
    known = replace(loaded, defined=[*loaded.defined, *during.defined])
    assert differences(after, known) == {slow.id: slow, gone.id: None}


async def test_a_writer_in_progress_while_a_beat_loads_is_not_missed(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    slow = a_periodic_task()
    async with scheduling.uow() as work:
        await work.periodic_tasks.add(slow)
        await scheduling.define(a_periodic_task())
        loaded = await beat.load()
        await work.commit()

    assert differences(await beat.changes(loaded.mark), loaded) == {slow.id: slow}


async def test_a_task_that_is_removed_and_made_again_is_there(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    task = a_periodic_task()
    await scheduling.define(task)
    loaded = await beat.load()

    await scheduling.delete(task.id)
    await scheduling.define(task)

    assert differences(await beat.changes(loaded.mark), loaded) == {task.id: task}


async def test_a_task_that_was_made_and_removed_is_not_there(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    loaded, task = await beat.load(), a_periodic_task()
    await scheduling.define(task)
    await scheduling.delete(task.id)

    later = await beat.changes(loaded.mark)
    assert differences(later, loaded) == {}
    assert list(later.defined) == []


async def test_versions_are_those_of_what_is_stored(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    task, gone = a_periodic_task(), a_periodic_task()
    await scheduling.define(task, gone, a_periodic_task())
    await scheduling.delete(gone.id)
    task.pause(at=LATER)
    await scheduling.change(task)

    loaded = await beat.load()
    assert await beat.versions() == {each.task.id: each.version for each in loaded.defined}


async def test_an_unreadable_definition_keeps_no_other_from_being_loaded(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    sound = a_periodic_task()
    before = await beat.load()
    broken_id = await scheduling.write_unreadable("broken")
    await scheduling.define(sound)

    for changes in (await beat.load(), await beat.changes(before.mark)):
        found = {each.task.id: each.task for each in changes.defined}
        broken = found.pop(broken_id)
        assert isinstance(broken, UnreadableTask)
        assert (broken.name, "schedule.minute" in broken.reason) == ("broken", True)
        assert found == {sound.id: sound}


async def test_beats_load_copies(scheduling: SchedulingBackend, beat: BeatStore) -> None:
    await scheduling.define(a_periodic_task())
    (loaded,) = (await beat.load()).defined
    loaded.task.pause(at=LATER)

    (again,) = (await beat.load()).defined
    assert again.task.enabled


async def test_a_problem_changes_no_schedule_state(
    scheduling: SchedulingBackend, beat: BeatStore
) -> None:
    task = a_periodic_task()
    await scheduling.define(task)
    await beat.record_published_offline(
        [DueSlots(task_id=task.id, slots=[A_MOMENT], handled_until=A_MOMENT)], []
    )
    before = await beat.schedule_states()

    await beat.record_problems({task.id: "wrong"})

    assert await beat.schedule_states() == before
