"""Checks whether a pooler silently replaces connections that Portico needs to keep.

`LISTEN`, the lease of a beat, migrations and the settings of a connection need one that stays the same. PgBouncer in
transaction mode gives each transaction another one.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from adapters.postgres.engine import LONGEST_IDLE_IN_TRANSACTION, listener
from adapters.postgres.errors import unavailable
from application.settings import PostgresSettings
from domain.errors import Unavailable

_NO = "PT001"
_SHARED = "{variable} leads to a pooler in transaction mode, whose connections do not stay the same; {instead}"
_FORGETS = (
    "PORTICO_POSTGRES_URL leads to a pooler that loses prepared statements; PgBouncer 1.21 or newer keeps them "
    "(max_prepared_statements), and so does session mode"
)
_KEEPS_LOCKS = (
    "behind a pooler the role must set what Portico cannot: "
    f"ALTER ROLE … SET idle_in_transaction_session_timeout = '{LONGEST_IDLE_IN_TRANSACTION}'"
)


async def require_sessions(settings: PostgresSettings) -> None:
    """Raise `Unavailable`, with the remedy, if an address leads to a pooler that its purpose does not allow."""
    try:
        if await _is_shared(settings.direct):
            raise Unavailable("PostgreSQL", reason=_shared(settings))
        if settings.direct_url is None:
            return
        if await _loses_statements(settings):
            raise Unavailable("PostgreSQL", reason=_FORGETS)
        if not await _ends_idle_transactions(settings):
            raise Unavailable("PostgreSQL", reason=_KEEPS_LOCKS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unavailable(error) from error


def _shared(settings: PostgresSettings) -> str:
    if settings.direct_url is not None:
        return _SHARED.format(
            variable="PORTICO_POSTGRES_DIRECT_URL",
            instead="set it to one in session mode, or to the server",
        )
    return _SHARED.format(
        variable="PORTICO_POSTGRES_URL",
        instead="set PORTICO_POSTGRES_DIRECT_URL to one in session mode, or to the server",
    )


async def _is_shared(settings: PostgresSettings) -> bool:
    """Tell whether a transaction of another connection takes or loses the settings of this one."""
    token = secrets.token_hex(8)
    condition = f"current_setting('portico.session', true) IS NOT DISTINCT FROM '{token}'"
    async with _two_connections(settings) as (first, second):
        await first.execute(f"SET portico.session = '{token}'")
        await second.execute("BEGIN")
        return await _holds(second, condition) or not await _holds(first, condition)


async def _loses_statements(settings: PostgresSettings) -> bool:
    async with _two_connections(settings) as (first, second):
        try:
            statement = await first.prepare("SELECT 1")
            await statement.fetch()  # until then, it keeps the server connection that prepared it
            await second.execute("BEGIN")
            await statement.fetch()
        except (
            asyncpg.InvalidSQLStatementNameError,
            asyncpg.DuplicatePreparedStatementError,
        ):
            return True
        return False


async def _ends_idle_transactions(settings: PostgresSettings) -> bool:
    setting = "current_setting('idle_in_transaction_session_timeout')::interval"
    limit = LONGEST_IDLE_IN_TRANSACTION
    async with _two_connections(settings) as (first, _):
        return await _holds(first, f"{setting} BETWEEN '1ms' AND '{limit}'")


async def _holds(connection: "asyncpg.Connection[Any]", condition: str) -> bool:
    """Ask without a prepared statement, because the pooler may lose those: the answer no is an error."""
    question = (
        f"BEGIN IF NOT ({condition}) THEN RAISE EXCEPTION USING ERRCODE = '{_NO}'; END IF; END"
    )
    try:
        await connection.execute(f"DO $portico$ {question} $portico$")
    except asyncpg.PostgresError as error:
        if error.sqlstate == _NO:
            return False
        raise
    return True


@asynccontextmanager
async def _two_connections(
    settings: PostgresSettings,
) -> AsyncIterator[tuple["asyncpg.Connection[Any]", "asyncpg.Connection[Any]"]]:
    opened: list[asyncpg.Connection[Any]] = []
    try:
        opened.append(await listener(settings))
        opened.append(await listener(settings))
        yield opened[0], opened[1]
    finally:
        for connection in opened:
            connection.terminate()
        await asyncio.sleep(0)  # the sockets close in the next turn of the loop
