"""The shape of the relational store."""

import asyncio

import pytest

from adapters.memory.system import MemorySchema
from adapters.postgres.schema import PostgresSchema
from application.ports.system import Schema
from application.settings import PostgresSettings


@pytest.fixture
def schema(database: str | None) -> Schema:
    return MemorySchema() if database is None else PostgresSchema(PostgresSettings(url=database))


async def test_a_store_that_was_upgraded_is_current(schema: Schema) -> None:
    await schema.upgrade()

    assert await schema.is_current()


async def test_any_number_of_processes_may_upgrade_at_once(schema: Schema) -> None:
    await asyncio.gather(*(schema.upgrade() for _ in range(5)))

    assert await schema.is_current()
