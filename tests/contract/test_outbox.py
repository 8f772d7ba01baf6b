"""What `Outbox` promises, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from application.ports.outbox import Backlog
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.audit_log import AuditEntry, AuditOutcome
from domain.identity import UserId
from tests.support.builders import A_MOMENT, a_user, an_audit_entry
from tests.support.given import given


def entries(number: int) -> list[AuditEntry]:
    """Return entries, the oldest first."""
    return [an_audit_entry(at=A_MOMENT + timedelta(seconds=n)) for n in range(number)]


async def waiting(uow: UnitOfWorkFactory, limit: int = 100) -> Sequence[AuditEntry]:
    """Return what anybody could take now."""
    async with uow() as work:
        return list(await work.outbox.take(limit))


async def test_an_entry_is_taken_exactly_as_it_was_added(uow: UnitOfWorkFactory) -> None:
    entry = an_audit_entry(
        "users.changed",
        at=A_MOMENT + timedelta(microseconds=1),
        outcome=AuditOutcome.FAILURE,
        actor=UserId(UUID(int=7)),
        target="user:7",
        address="2001:db8::1",
        agent="Mozilla/5.0 (“quoted”; 王)",
        request_id="abc",
        details={
            "name": {"from": "Ada 🚀", "to": "a\\b\"c'd\n% {x}"},
            "roles": ["a", "b", []],
            "numbers": [0, -1, 2**62, 0.1, -0.0, 1e300, 1e22],
            "nothing": None,
            "yes": True,
            "": {},
        },
    )
    bare = an_audit_entry(at=A_MOMENT)
    await given(uow, entry, bare)

    found = await waiting(uow)

    assert found == [bare, entry]
    assert repr(found[1].details) == repr(entry.details)


async def test_the_backlog_tells_how_many_wait_and_since_when(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        assert await work.outbox.backlog() == Backlog(0, None)
    await given(uow, *entries(3))

    async with uow() as locking, uow() as work:
        await locking.outbox.take(1)
        assert await work.outbox.backlog() == Backlog(3, A_MOMENT)


async def test_details_are_copies(uow: UnitOfWorkFactory) -> None:
    names = ["ada"]
    details: dict[str, object] = {"names": names}
    entry = an_audit_entry(details=details)
    async with uow() as work:
        await work.outbox.add(entry)
        names.append("grace")
        details["more"] = 1
        await work.commit()

    (found,) = await waiting(uow)
    assert found.details == {"names": ["ada"]}


@pytest.mark.parametrize("commits", [True, False])
async def test_an_entry_exists_exactly_if_the_unit_of_work_commits(
    uow: UnitOfWorkFactory, *, commits: bool
) -> None:
    user, entry = a_user(), an_audit_entry()
    async with uow() as work:
        await work.users.add(user)
        await work.outbox.add(entry)
        assert await waiting(uow) == []
        if commits:
            await work.commit()

    async with uow() as work:
        assert (await work.users.find(user.id) is not None) is commits
    assert await waiting(uow) == ([entry] if commits else [])


async def test_the_oldest_entries_are_taken_first(uow: UnitOfWorkFactory) -> None:
    """Of those of one instant, the ones with the lower id."""
    old, middle, new = entries(3)
    twin = an_audit_entry(at=middle.at)
    await given(uow, twin, new, old, middle)

    assert await waiting(uow, 1) == [old]
    assert await waiting(uow, 2) == [old, middle]
    assert await waiting(uow) == [old, middle, twin, new]


async def test_an_id_is_kept_once_and_the_first_entry_stays(uow: UnitOfWorkFactory) -> None:
    """So that an event which several processes notice, each with the same id, is noted once."""
    first = an_audit_entry(details={"by": 1})
    await given(uow, first)
    await given(uow, an_audit_entry(id=first.id, details={"by": 2}))
    async with uow() as work:
        await work.outbox.add(an_audit_entry(id=first.id, details={"by": 3}))
        await work.users.add(a_user())  # the unit of work goes on
        await work.commit()

    assert await waiting(uow) == [first]


async def test_an_id_that_many_add_at_once_is_kept_once(uow: UnitOfWorkFactory) -> None:
    entry = an_audit_entry()

    await asyncio.gather(*(given(uow, entry) for _ in range(5)))

    assert await waiting(uow) == [entry]


async def test_entries_taken_by_one_relay_are_skipped_by_others(uow: UnitOfWorkFactory) -> None:
    """Without waiting."""
    first, second, third, fourth = entries(4)
    await given(uow, first, second, third, fourth)

    async with uow() as one, uow() as another:
        assert list(await one.outbox.take(2)) == [first, second]
        assert list(await another.outbox.take(1)) == [third]
        assert await waiting(uow) == [fourth]
        assert list(await one.outbox.take(1)) == [first]

    assert await waiting(uow) == [first, second, third, fourth]


async def test_removed_entries_are_gone_after_the_commit(uow: UnitOfWorkFactory) -> None:
    first, second = entries(2)
    await given(uow, first, second)
    async with uow() as work:
        await work.outbox.take(2)
        await work.outbox.remove([first.id])
        assert list(await work.outbox.take(2)) == [second]
    assert await waiting(uow) == [first, second]

    async with uow() as work:
        await work.outbox.take(1)
        await work.outbox.remove([first.id, an_audit_entry().id])
        await work.outbox.remove([])
        await work.commit()
    assert await waiting(uow) == [second]


async def test_many_relays_deliver_each_entry_once(uow: UnitOfWorkFactory) -> None:
    there = entries(40)
    await given(uow, *there)
    delivered: list[AuditEntry] = []

    async def deliver() -> None:
        while True:
            async with uow() as work:
                taken = await work.outbox.take(3)
                if not taken:
                    return
                await asyncio.sleep(0)  # gives the others their chance
                delivered.extend(taken)
                await work.outbox.remove([entry.id for entry in taken])
                await work.commit()

    await asyncio.gather(*(deliver() for _ in range(4)))

    assert sorted(delivered, key=lambda entry: entry.at) == there
    assert await waiting(uow) == []
