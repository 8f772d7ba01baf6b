"""What `AuditLog` promises, kept by memory and by MongoDB."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.memory.audit_log import MemoryAuditLog
from adapters.mongo.audit_log import MongoAuditLog
from adapters.mongo.client import mongo_client
from application.paging import Cursor
from application.ports.audit_log import AuditFilter, AuditLog
from application.settings import MongoSettings
from domain.audit_log import AuditEntry, AuditId, AuditOutcome
from tests.support.audit_log import EVERYTHING, FOREVER, everything_in
from tests.support.builders import A_MOMENT, an_audit_entry
from tests.support.clock import DAY, SECOND, MovableClock
from tests.support.sessions import ADA, GRACE_HOPPER


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[AuditLog]:
    clock = MovableClock()
    if request.param == "memory":
        yield MemoryAuditLog(FOREVER, clock)
        return
    mongo = MongoSettings(
        url=request.getfixturevalue("mongo_url"),
        database=request.getfixturevalue("mongo_database"),
        timeout=timedelta(seconds=30),
    )
    client = mongo_client(mongo)
    made = MongoAuditLog(client, mongo, FOREVER)
    await made.prepare()
    yield made
    client.close()


def ids(entries: Sequence[AuditEntry]) -> list[AuditId]:
    return [entry.id for entry in entries]


async def found(log: AuditLog, which: AuditFilter) -> set[AuditId]:
    return {*ids((await log.find(which, after=None, limit=1000)).records)}


# --- appending ----------------------------------------------------------------------------------


async def test_an_entry_is_found_as_it_was_appended(log: AuditLog) -> None:
    entry = an_audit_entry(
        at=A_MOMENT + timedelta(microseconds=123_457),
        action="roles.replaced",
        outcome=AuditOutcome.FAILURE,
        actor=ADA,
        target=f"role:{UUID(int=7)}",
        address="2001:db8::1",
        agent='"кот" \u00fc\r\n\U0001f600',
        request_id="0123456789abcdef",
        details={
            "name": {"from": "old", "to": None},
            "$set": {"a.b": 1, "": True},
            "numbers": [2**53 + 1, -(2**63), 0.1, 1.0, 1e300],
        },
    )
    await log.append([entry])
    assert list(await everything_in(log)) == [entry]


async def test_of_an_instant_in_another_time_zone_the_instant_is_kept(log: AuditLog) -> None:
    await log.append(
        [an_audit_entry(at=A_MOMENT.astimezone(timezone(timedelta(hours=5, minutes=45))))]
    )
    (entry,) = await everything_in(log)
    assert entry.at == A_MOMENT


async def test_an_entry_that_is_there_already_stays_as_it_is(log: AuditLog) -> None:
    """An entry that is delivered twice is stored once, and history cannot be rewritten."""
    entry, other = an_audit_entry(), an_audit_entry(at=A_MOMENT + SECOND)
    await log.append([entry])
    await log.append([replace(entry, action="forged"), other, replace(other, action="forged")])
    await log.append([other, entry])
    assert list(await everything_in(log)) == [other, entry]


async def test_appending_nothing_is_nothing(log: AuditLog) -> None:
    await log.append([])
    assert list(await everything_in(log)) == []


async def test_many_who_append_the_same_entries_at_once_store_them_once(log: AuditLog) -> None:
    entries = [an_audit_entry(at=A_MOMENT + n * SECOND) for n in range(50)]
    await asyncio.gather(*(log.append(entries[n:] + entries[:n]) for n in range(8)))
    assert list(await everything_in(log)) == entries[::-1]


async def test_a_log_may_be_prepared_by_many_at_once_and_again_while_it_is_in_use(
    log: AuditLog,
) -> None:
    entry = an_audit_entry()
    await log.append([entry])
    await asyncio.gather(*(log.prepare() for _ in range(8)))
    assert list(await everything_in(log)) == [entry]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.sampled_from("\0\ud800\udfffa$."))
    | st.binary()
    | st.uuids()
    | st.datetimes()
    | st.sampled_from([AuditOutcome.SUCCESS, 2**10_000]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner)
    ),
)


@given(details=st.dictionaries(st.text(st.characters()), ANYTHING), agent=st.text(st.characters()))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_an_entry_of_any_values_can_be_stored(
    log: AuditLog, details: dict[str, object], agent: str
) -> None:
    """One that no store takes would stay in the outbox for ever."""
    entry = an_audit_entry(details=details, agent=agent)
    await log.append([entry])
    assert (
        await log.find(EVERYTHING, after=Cursor(entry.at, UUID(int=entry.id.int + 1)), limit=1)
    ).records == [entry]


async def test_details_of_any_depth_and_size_can_be_stored(log: AuditLog) -> None:
    deep: dict[str, object] = {}
    for _ in range(10_000):
        deep = {"a": deep}
    entries = [an_audit_entry(details=deep), an_audit_entry(details={"a": "x" * 20_000_000})]
    await log.append(entries)
    assert await found(log, EVERYTHING) == {*ids(entries)}


# --- order and slices ---------------------------------------------------------------------------


async def test_entries_are_found_newest_first_and_by_their_ids_within_an_instant(
    log: AuditLog,
) -> None:
    entries = [
        an_audit_entry(
            at=A_MOMENT + n * timedelta(microseconds=1), id=AuditId(UUID(int=10 * n + m))
        )
        for n in range(3)
        for m in (1, 2, 3)
    ]
    await log.append(random.sample(entries, len(entries)))
    assert list(await everything_in(log)) == entries[::-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 30, 31, 1000])
async def test_slices_of_any_size_give_every_entry_once(log: AuditLog, limit: int) -> None:
    """With any gaps between them: none, microseconds, years."""
    gaps = [timedelta(0), timedelta(microseconds=1), SECOND, 40 * SECOND, 9 * DAY, 900 * DAY]
    at, entries = A_MOMENT, []
    for gap in gaps * 5:
        at -= gap
        entries.append(an_audit_entry(at=at))
    await log.append(entries)

    read: list[AuditEntry] = []
    after: Cursor | None = None
    while True:
        found = await log.find(EVERYTHING, after=after, limit=limit)
        read += found.records
        if found.next is None:
            break
        assert len(found.records) == limit
        after = found.next

    assert read == sorted(entries, key=lambda entry: (entry.at, entry.id), reverse=True)


async def test_going_on_after_a_cursor_ignores_what_came_later(log: AuditLog) -> None:
    old, new = an_audit_entry(at=A_MOMENT), an_audit_entry(at=A_MOMENT + SECOND)
    await log.append([old, new])
    first = await log.find(EVERYTHING, after=None, limit=1)
    await log.append([an_audit_entry(at=A_MOMENT + 2 * SECOND)])
    second = await log.find(EVERYTHING, after=first.next, limit=1)
    assert (list(second.records), second.next) == ([old], None)


async def test_a_cursor_need_not_be_the_place_of_an_entry(log: AuditLog) -> None:
    entry = an_audit_entry()
    await log.append([entry])
    for at in (A_MOMENT + SECOND, datetime.max.replace(tzinfo=UTC)):
        assert (await log.find(EVERYTHING, after=Cursor(at, UUID(int=0)), limit=1)).records == [
            entry
        ]
    for at in (A_MOMENT, datetime(1970, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)):
        assert (await log.find(EVERYTHING, after=Cursor(at, UUID(int=0)), limit=1)).records == []


async def test_entries_of_a_process_whose_clock_is_ahead_are_found(log: AuditLog) -> None:
    entry = an_audit_entry(at=A_MOMENT + 30 * DAY)
    await log.append([entry])
    assert await found(log, EVERYTHING) == {entry.id}
    assert await found(log, AuditFilter(until=A_MOMENT + 31 * DAY)) == {entry.id}


# --- filters ------------------------------------------------------------------------------------


async def test_the_actor_narrows(log: AuditLog) -> None:
    hers, _, _ = entries = [an_audit_entry(actor=actor) for actor in (ADA, GRACE_HOPPER, None)]
    await log.append(entries)
    assert await found(log, AuditFilter(actor=ADA)) == {hers.id}


async def test_an_action_is_found_by_its_name_or_by_a_prefix_that_ends_with_a_dot(
    log: AuditLog,
) -> None:
    names = ("users.created", "users.created.again", "usersXcreated", "users", "roles.created")
    entries = {name: an_audit_entry(action=name) for name in names}
    await log.append([*entries.values()])

    async def actions_found(action: str) -> list[str]:
        matching = await found(log, AuditFilter(action=action))
        return [name for name, entry in entries.items() if entry.id in matching]

    assert await actions_found("users.created") == ["users.created"]
    assert await actions_found("users.") == ["users.created", "users.created.again"]
    assert await actions_found("users.created.") == ["users.created.again"]
    assert await actions_found("users") == ["users"]
    for nothing in ("user", "users.crea", ".", ".*", "users.c.*", "^users", "", "$ne", "created"):
        assert await actions_found(nothing) == []


async def test_the_target_narrows(log: AuditLog) -> None:
    one, _, _ = entries = [an_audit_entry(target=target) for target in ("user:1", "user:11", "")]
    await log.append(entries)
    assert await found(log, AuditFilter(target="user:1")) == {one.id}


async def test_a_user_is_concerned_by_what_they_did_and_by_what_was_done_to_them(
    log: AuditLog,
) -> None:
    entries = [
        an_audit_entry(actor=ADA),
        an_audit_entry(target=f"user:{ADA}"),
        an_audit_entry(actor=ADA, target=f"user:{ADA}"),
        an_audit_entry(actor=ADA, target=f"user:{GRACE_HOPPER}"),
        an_audit_entry(actor=GRACE_HOPPER, target=f"role:{ADA}"),
        an_audit_entry(actor=GRACE_HOPPER, target=f"user:{GRACE_HOPPER}"),
        an_audit_entry(target="user:nobody"),
    ]
    await log.append(entries)
    assert await found(log, AuditFilter(concerned=ADA)) == {*ids(entries[:4])}


async def test_the_outcome_narrows(log: AuditLog) -> None:
    success, failure = entries = [an_audit_entry(outcome=outcome) for outcome in AuditOutcome]
    await log.append(entries)
    assert await found(log, AuditFilter(outcome=AuditOutcome.SUCCESS)) == {success.id}
    assert await found(log, AuditFilter(outcome=AuditOutcome.FAILURE)) == {failure.id}


async def test_times_narrow_from_the_first_instant_up_to_the_one_that_is_too_late(
    log: AuditLog,
) -> None:
    before, first, last, _ = entries = [
        an_audit_entry(at=A_MOMENT + n * timedelta(microseconds=1)) for n in range(4)
    ]
    await log.append(entries)
    assert await found(log, AuditFilter(since=first.at, until=entries[3].at)) == {first.id, last.id}
    assert await found(log, AuditFilter(until=first.at)) == {before.id}
    assert await found(log, AuditFilter(since=first.at, until=first.at)) == set()
    assert await found(log, AuditFilter(since=last.at, until=first.at)) == set()
    everywhere = AuditFilter(
        since=datetime.min.replace(tzinfo=UTC), until=datetime.max.replace(tzinfo=UTC)
    )
    assert await found(log, everywhere) == {*ids(entries)}


async def test_any_filters_together_find_what_each_of_them_finds(log: AuditLog) -> None:
    chance = random.Random(7)  # noqa: S311 - it is to be the same every time
    actors, targets = (ADA, GRACE_HOPPER, None), (f"user:{ADA}", "role:1", "")
    actions = ("users.created", "users.deleted", "roles.created")
    entries = [
        an_audit_entry(
            at=A_MOMENT - timedelta(seconds=chance.expovariate(1 / 10_000)),
            actor=chance.choice(actors),
            target=chance.choice(targets),
            action=chance.choice(actions),
            outcome=chance.choice([*AuditOutcome]),
        )
        for _ in range(400)
    ]
    await log.append(entries)
    newest_first = sorted(entries, key=lambda entry: (entry.at, entry.id), reverse=True)
    for _ in range(60):
        start = chance.choice(entries)
        which = AuditFilter(
            actor=chance.choice(actors),
            concerned=chance.choice((None, *actors)),
            target=chance.choice((None, *targets)),
            action=chance.choice((None, "users.", *actions)),
            outcome=chance.choice((None, *AuditOutcome)),
            since=chance.choice((None, A_MOMENT - timedelta(hours=5))),
            until=chance.choice((None, A_MOMENT - timedelta(minutes=5))),
        )
        after = chance.choice((None, Cursor(start.at, start.id)))
        expected = [
            entry
            for entry in newest_first
            if (which.actor is None or entry.actor == which.actor)
            and (
                which.concerned is None
                or entry.actor == which.concerned
                or entry.target == f"user:{which.concerned}"
            )
            and (which.target is None or entry.target == which.target)
            and (which.action is None or entry.action.startswith(which.action))
            and (which.outcome is None or entry.outcome is which.outcome)
            and (which.since is None or entry.at >= which.since)
            and (which.until is None or entry.at < which.until)
            and (after is None or Cursor(entry.at, entry.id) < after)
        ]
        read = await log.find(which, after=after, limit=20)
        assert ids(read.records) == ids(expected[:20])
        assert (read.next is None) == (len(expected) <= 20)
