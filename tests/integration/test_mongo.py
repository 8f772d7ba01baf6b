"""MongoDB itself: its indexes, how long entries live, and what its failures become."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from pymongo import IndexModel
from pymongo.errors import BulkWriteError, OperationFailure

from adapters.mongo.audit_log import MongoAuditLog
from adapters.mongo.client import MongoClient, mongo_client, transaction
from adapters.mongo.errors import unavailable_when_down
from adapters.mongo.indexes import ensure_indexes
from application.paging import PageRequest
from application.ports.documents import Order
from application.settings import MongoSettings
from domain.documents import DocumentExists
from domain.errors import Unavailable
from tests.support.audit_log import EVERYTHING, everything_in
from tests.support.builders import an_audit_entry
from tests.support.clock import DAY, SECOND
from tests.support.link import Link, link_to
from tests.support.mongo import Mongo
from tests.support.notes import Note, NoteFilter, mongo_notes

IMPATIENT = timedelta(milliseconds=500)
SOON = 10.0
"""Seconds; far more than `IMPATIENT`, far less than forever: this machine may be busy."""
NOTE = Note(id=UUID(int=1), owner="ada", text="", tags=[])


@dataclass(frozen=True, slots=True)
class Database:
    """A client, and which database it is to use."""

    client: MongoClient
    settings: MongoSettings

    def audit_log(self, retention: timedelta = 9000 * DAY) -> MongoAuditLog:
        return MongoAuditLog(self.client, self.settings, retention)

    async def indexes(self) -> dict[str, Any]:
        audit = self.client[self.settings.database]["audit"]
        return dict(await audit.index_information())


@asynccontextmanager
async def connected(settings: MongoSettings) -> AsyncIterator[Database]:
    client = mongo_client(settings)
    yield Database(client, settings)
    client.close()


@pytest.fixture
def settings(mongo_url: str, mongo_database: str) -> MongoSettings:
    return MongoSettings(url=mongo_url, database=mongo_database, timeout=timedelta(seconds=30))


@pytest.fixture
async def database(settings: MongoSettings) -> AsyncIterator[Database]:
    async with connected(settings) as database:
        yield database


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Mongo]:
    with Mongo(tmp_path) as server:
        yield server


Call = Callable[[Database], Awaitable[object]]


def notes(database: Database) -> Any:
    return mongo_notes(database.client, database.settings.database)


async def in_a_transaction(database: Database) -> None:
    async with transaction(database.client) as session:
        await notes(database).within(session).create(NOTE)


CALLS: dict[str, Call] = {
    "prepare": lambda database: database.audit_log().prepare(),
    "append": lambda database: database.audit_log().append([an_audit_entry()]),
    "find": lambda database: database.audit_log().find(EVERYTHING, after=None, limit=9),
    "get": lambda database: notes(database).get(NOTE.id),
    "find notes": lambda database: notes(database).find(NoteFilter(), order=Order(), limit=9),
    "page": lambda database: notes(database).page(NoteFilter(), PageRequest(), order=Order()),
    "count": lambda database: notes(database).count(NoteFilter()),
    "create": lambda database: notes(database).create(NOTE),
    "update": lambda database: notes(database).update(NOTE),
    "delete": lambda database: notes(database).delete(NOTE.id),
    "transaction": in_a_transaction,
}
QUICK = {name: call for name, call in CALLS.items() if name != "prepare"}


# --- indexes and retention ----------------------------------------------------------------------


async def test_any_number_of_processes_may_make_the_indexes_at_once(
    settings: MongoSettings, database: Database
) -> None:
    async def process() -> None:
        async with connected(settings) as own:
            await own.audit_log().prepare()

    await asyncio.gather(*(process() for _ in range(8)))

    keys = sorted(str(dict(index["key"])) for index in (await database.indexes()).values())
    assert keys == [
        "{'_id': 1}",
        "{'actions': 1, 'place': 1}",
        "{'actor': 1, 'place': 1}",
        "{'at': 1}",
        "{'concerned': 1, 'place': 1}",
        "{'outcome': 1, 'place': 1}",
        "{'place': 1}",
        "{'target': 1, 'place': 1}",
    ]


async def test_entries_live_as_long_as_settings_say_and_a_change_counts_for_old_ones_too(
    database: Database,
) -> None:
    await database.audit_log(365 * DAY).prepare()
    assert (await database.indexes())["at_ttl"]["expireAfterSeconds"] == 365 * 86_400
    await database.audit_log().append([an_audit_entry()])
    for days in (90, 90, 3650):
        await database.audit_log(days * DAY).prepare()
        assert (await database.indexes())["at_ttl"]["expireAfterSeconds"] == days * 86_400
    assert len(await everything_in(database.audit_log())) == 1


async def test_the_server_counts_that_time_from_the_instant_of_the_entry(
    database: Database,
) -> None:
    """How it removes documents is its own affair, and takes it a minute; a test would not wait for that."""
    entry = an_audit_entry()
    await database.audit_log().append([entry])
    stored = await database.client[database.settings.database]["audit"].find_one({})
    assert stored is not None
    assert stored["at"] == entry.at


async def test_an_index_of_that_name_that_is_something_else_is_left_alone(
    database: Database,
) -> None:
    """Somebody made it for a reason; the process that starts says so."""
    audit = database.client[database.settings.database]["audit"]
    await audit.create_index([("place", 1)], name="place_1", sparse=True)
    with pytest.raises(OperationFailure, match="place_1"):
        await database.audit_log().prepare()
    assert (await database.indexes())["place_1"]["sparse"]


# --- what the server refuses ----------------------------------------------------------------------


async def test_a_refused_entry_is_raised_and_the_rest_is_stored(
    database: Database,
) -> None:
    """Only that an entry is there already is no error."""
    there, refused, fine = an_audit_entry(), an_audit_entry(action="refused"), an_audit_entry()
    await database.client[database.settings.database].create_collection(
        "audit", validator={"action": {"$ne": "refused"}}
    )
    await database.audit_log().append([there])
    with pytest.raises(BulkWriteError):
        await database.audit_log().append([there, refused, fine])
    stored = await everything_in(database.audit_log())
    assert {entry.id for entry in stored} == {there.id, fine.id}


async def test_a_unique_value_is_taken_once(database: Database) -> None:
    """A unique index conflicts as an id does, when something is created and when it is changed."""
    repository = notes(database)
    await repository.collection.create_index("owner", unique=True)
    other = replace(NOTE, id=UUID(int=2), owner="grace")
    await repository.create_many([NOTE, other])
    with pytest.raises(DocumentExists) as created:
        await repository.create(replace(NOTE, id=UUID(int=3)))
    with pytest.raises(DocumentExists) as updated:
        await repository.update(replace(other, owner="ada"))
    assert (created.value.ids, updated.value.ids) == ((UUID(int=3),), (UUID(int=2),))


async def test_a_refused_document_is_raised(database: Database) -> None:
    await database.client[database.settings.database].create_collection(
        "notes", validator={"owner": {"$ne": "ada"}}
    )
    with pytest.raises(BulkWriteError):
        await notes(database).create(NOTE)


# --- failures -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deserted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    """Return a server whose clients go away in the middle: an abandoned transaction stays open on it."""
    with Mongo(tmp_path_factory.mktemp("deserted")) as server:
        yield server


@pytest.fixture
async def link(deserted_server: Mongo) -> AsyncIterator[Link]:
    async with link_to(deserted_server.url) as link:
        yield link


@pytest.mark.parametrize("name", QUICK)
async def test_a_frozen_server_is_unavailable_within_the_time_out(
    deserted_server: Mongo, link: Link, name: str
) -> None:
    impatient = MongoSettings(url=link.url(deserted_server.url), timeout=IMPATIENT)
    async with connected(impatient) as database:
        await database.client.admin.command("ping")
        link.freeze()
        started = monotonic()
        with pytest.raises(Unavailable):
            await QUICK[name](database)
        assert monotonic() - started < SOON
        link.thaw()


@pytest.mark.parametrize("name", QUICK)
async def test_a_server_that_is_not_there_is_unavailable_within_the_time_out(name: str) -> None:
    nowhere = MongoSettings(url="mongodb://127.0.0.1:9/", timeout=IMPATIENT)
    async with connected(nowhere) as database:
        started = monotonic()
        with pytest.raises(Unavailable) as refused:
            await QUICK[name](database)
        assert monotonic() - started < SOON
    assert refused.value.dependency == "MongoDB"


async def test_the_connection_recovers_when_the_server_was_killed_and_is_back(
    own_server: Mongo,
) -> None:
    settings = MongoSettings(url=own_server.url, timeout=timedelta(seconds=5))
    async with connected(settings) as database:
        log, entries = database.audit_log(), [an_audit_entry(), an_audit_entry()]
        await log.prepare()
        await log.append(entries)
        await own_server.kill()
        with pytest.raises(Unavailable):
            await log.append([an_audit_entry()])
        await own_server.start()
        await log.append(entries)
        assert {entry.id for entry in await everything_in(log)} == {e.id for e in entries}


async def test_a_transaction_is_undone_when_the_server_dies_before_its_end(
    own_server: Mongo,
) -> None:
    settings = MongoSettings(url=own_server.url, timeout=timedelta(seconds=5))
    async with connected(settings) as database:

        async def cut_short() -> None:
            async with transaction(database.client) as session:
                await notes(database).within(session).create(NOTE)
                await own_server.kill()

        with pytest.raises(Unavailable):
            await cut_short()
        await own_server.start()
        assert await notes(database).count(NoteFilter()) == 0


async def test_indexes_do_not_wait_for_a_server_that_is_away() -> None:
    """Though they may take a minute when it is there."""
    client = mongo_client(MongoSettings(url="mongodb://127.0.0.1:9", timeout=0.1 * SECOND))
    try:
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable):
                await ensure_indexes(client.get_database("any")["any"], [IndexModel("a")])
    finally:
        client.close()


async def test_a_mistake_of_ours_is_not_taken_for_an_outage(database: Database) -> None:
    with pytest.raises(OperationFailure) as refused, unavailable_when_down():
        await database.client.admin.command("noSuchCommand")
    assert refused.value.code == 59


NOT_NOW = [13, 18, 24, 50, 64, 91, 112, 189, 251, 11600, 14031]


@pytest.mark.parametrize("code", NOT_NOW)
def test_temporary_errors_and_errors_of_operation_are_unavailable(code: int) -> None:
    with pytest.raises(Unavailable), unavailable_when_down():
        raise OperationFailure("", code)
    for where in ("writeErrors", "writeConcernErrors"):
        with pytest.raises(Unavailable), unavailable_when_down():
            raise BulkWriteError({where: [{"code": code}]})
