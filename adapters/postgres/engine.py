"""The pool of connections. Only this module knows how PostgreSQL is reached."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import AdaptedConnection, event
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection

from adapters.postgres.errors import raise_if_unavailable, terminate, unavailable
from application.settings import PostgresSettings

LONGEST_IDLE_IN_TRANSACTION = "30s"

# libpq takes these in a URL to tune itself; asyncpg would send them to the server, which refuses them.
_LIBPQ_ONLY = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "fallback_application_name",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "sslsni",
        # Of SQLAlchemy and of Prisma.
        "pgbouncer",
        "prepared_statement_cache_size",
    }
)


def postgres_engine(
    settings: PostgresSettings, *, statement_timeout: timedelta | None = None
) -> AsyncEngine:
    """Return an engine that connects when it is first used and commits each statement by itself.

    `settings.timeout` bounds everything; work that takes longer than requests may brings a
    `statement_timeout` of its own.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=_driver(settings, statement_timeout or settings.timeout),
        isolation_level="AUTOCOMMIT",
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.timeout.total_seconds(),
        hide_parameters=True,  # there are password hashes among them, and errors are logged
    )
    event.listen(engine.sync_engine, "checkout", _replace_if_closed)
    event.listen(engine.sync_engine, "close", _hang_up_if_idle)
    event.listen(engine.sync_engine, "handle_error", raise_if_unavailable)
    return engine


async def listener(settings: PostgresSettings) -> "asyncpg.Connection[asyncpg.Record]":
    """Return a connection outside the pool, for notifications of the server; the caller closes it."""
    return await _driver(settings, settings.timeout)()


async def connect(engine: AsyncEngine) -> AsyncConnection:
    """Return a connection of the pool; raise `Unavailable` if there is none within the time-out."""
    pool = cast("AsyncAdaptedQueuePool", engine.pool)
    try:
        async with asyncio.timeout(pool.timeout()):  # waiting in the queue and connecting, together
            return await engine.connect()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError) as error:
        raise unavailable(error) from error


def _driver(
    settings: PostgresSettings, patience: timedelta
) -> Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]:
    async def open_connection() -> "asyncpg.Connection[asyncpg.Record]":
        async with asyncio.timeout(settings.timeout.total_seconds()):
            connection = await asyncpg.connect(
                _dsn(settings.url or ""),
                timeout=settings.timeout.total_seconds(),
                command_timeout=patience.total_seconds(),
                server_settings={"application_name": "portico"},
            )
            # A pooler refuses a connection with these settings. In transaction mode (a second address for direct
            # connections means that), the next client would inherit them: there, the role must set them.
            if settings.direct_url is None:
                try:
                    await connection.execute(_settings_of_connections(patience))
                except BaseException:
                    connection.terminate()
                    raise
            return connection

    return open_connection


def _settings_of_connections(patience: timedelta) -> str:
    settings = {
        # Compiling plans as cheap as ours, or starting processes for them, costs more than running them.
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        # The server gives up first: then a slow statement does not cost the connection as well.
        "statement_timeout": f"{patience / timedelta(milliseconds=1) * 0.9:.0f}",
        # A client that hangs or is gone keeps its locks no longer than this, and a COMMIT that arrives later
        # fails: changes of access rely on that (`UnitOfWork.commit`).
        "idle_in_transaction_session_timeout": LONGEST_IDLE_IN_TRANSACTION,
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    return "; ".join(f"SET {name} = '{value}'" for name, value in settings.items())


def _dsn(url: str) -> str:
    """Return `url` without the parameters that asyncpg does not understand; it reads the others like libpq."""
    parts = urlsplit(url)
    query = [
        ("sslmode" if name == "ssl" else name, value)  # as SQLAlchemy's addresses call it
        for name, value in parse_qsl(parts.query)
        if name not in _LIBPQ_ONLY
    ]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _replace_if_closed(
    connection: AdaptedConnection, _: ConnectionPoolEntry, __: PoolProxiedConnection
) -> None:
    # When a server goes away the event loop closes the socket, so looking costs nothing. A ping would
    # cost every use of the pool a round trip, and the connection can still break right after it.
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _hang_up_if_idle(connection: AdaptedConnection, entry: ConnectionPoolEntry) -> None:
    # Nothing is left to be said, and a frozen server would not return a goodbye.
    if not entry.in_use:
        terminate(connection)
