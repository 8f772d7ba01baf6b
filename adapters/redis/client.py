"""The Redis client. Every command has a deadline, and what goes wrong with the server becomes `Unavailable` here."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import ClassVar, Protocol, TypeAlias, TypeVar

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer

from adapters.reasons import network_reason
from application.settings import RedisSettings
from domain.errors import Unavailable

# Per process and event loop. A command holds a connection for a fraction of a millisecond, so a burst
# is served by few; what comes on top waits for its turn instead of failing.
_CONNECTIONS = 32

# The server is away, starting, full, a replica, or without its cluster. Authentication is among them as a
# ConnectionError: until the operator mends the password, nothing works and nothing is allowed.
_UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.ClusterError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    exceptions.NoPermissionError,  # like a wrong password
    TimeoutError,
)

# The driver has no class for these: cannot persist, too few replicas, another script will not end, and an address with
# the number of a database that is not there.
_UNAVAILABLE_CODES = ("MISCONF ", "NOREPLICAS ", "BUSY ", "DB index is out of range")


T = TypeVar("T")
U = TypeVar("U")

Command: TypeAlias = tuple[str | int, ...]
"""A command and its arguments. The first key is the second of them, or the fourth of a script."""


SpanOf: TypeAlias = Callable[[str], AbstractContextManager[object]]
"""Returns what is around a command, such as a span, by the name of the command or script."""

_NOTHING = nullcontext()


def no_span(name: str) -> AbstractContextManager[object]:  # noqa: ARG001 - of any
    """Return what does nothing."""
    return _NOTHING


script_names: dict[str | int, str] = {}
"""The names of scripts, by those under which servers cache them."""


def name_of(args: tuple[str | int, ...]) -> str:
    """Return the name of a script, or of another command."""
    return script_names.get(args[1], "EVALSHA") if args[0] == "EVALSHA" else str(args[0])


class RedisServers(Protocol):
    """What adapters ask of Redis, be it one server or many that share the keys."""

    run_id: ClassVar[str]
    """Name of the Lua part that says which run of a server answers."""
    span_of: SpanOf
    """What is around `execute`. The kept connection serves several callers at once, each with a span of its own."""

    @property
    def is_encrypted(self) -> bool:
        """Whether the address demands TLS."""
        ...

    @property
    def database(self) -> int:
        """Number of the database. Channels do not belong to it, as keys do."""
        ...

    async def execute(self, *args: str | int) -> object:
        """Execute a command where its key is, and return the answer as the server gives it; raise `Unavailable`."""
        ...

    async def execute_held(self, *args: str | int) -> object:
        """Do the same over a connection that is kept for it; one call at a time, of what may be executed twice."""
        ...

    async def release_held(self) -> None:
        """End the connection that is kept; the next command gets a new one."""
        ...

    async def server_of(self, key: str) -> "RedisClient":
        """Return the client of the server that has a key, or a channel; raise `Unavailable`."""
        ...

    async def servers(self) -> Sequence["RedisClient"]:
        """Return the client of each server that has keys; raise `Unavailable`."""
        ...


class RedisClient(Redis):
    """`Redis` whose commands answer within `timeout`, or raise `Unavailable`.

    That is the time for all of it: waiting for a connection, connecting, the command. The driver's pipelines and
    subscriptions do not go this way; code that uses one sets its deadline, with `asyncio.timeout` inside
    `unavailable_when_down`.
    """

    run_id: ClassVar[str] = "run_id"

    def __init__(self, pool: BlockingConnectionPool, *, timeout: timedelta) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._timeout = timeout.total_seconds()
        self._held: AbstractConnection | None = None
        self.span_of: SpanOf = no_span

    @property
    def is_encrypted(self) -> bool:
        """Whether the address demands TLS."""
        return issubclass(self.connection_pool.connection_class, SSLConnection)

    @property
    def host(self) -> str:
        """Name or address of the server."""
        return str(self.connection_pool.connection_kwargs.get("host") or "")

    @property
    def database(self) -> int:
        """Number of the database."""
        return int(self.connection_pool.connection_kwargs.get("db") or 0)

    async def server_of(self, key: str) -> "RedisClient":  # noqa: ARG002 - it has them all
        """Return itself."""
        return self

    async def servers(self) -> Sequence["RedisClient"]:
        """Return itself."""
        return [self]

    async def execute_command(self, *args: object, **options: object) -> object:
        with unavailable_when_down():
            async with asyncio.timeout(self._timeout):
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # the driver's own gap

    async def execute(self, *args: str | int) -> object:
        """Execute a command and return the answer as the server gives it, at half the cost of `execute_command`."""
        with self.span_of(name_of(args)):
            return await self._execute(_ask, args)

    async def execute_each(self, commands: Sequence[Command]) -> list[object]:
        """Execute commands in one round trip, and return the answer of each, or its error."""
        return await self._execute(_ask_each, commands)

    async def _execute(self, ask: Callable[[AbstractConnection, T], Awaitable[U]], asked: T) -> U:
        pool = self.connection_pool
        with unavailable_when_down():
            async with asyncio.timeout(self._timeout):
                connection = await pool.get_connection()  # type: ignore[no-untyped-call]  # the driver's own gap
                try:
                    return await ask(connection, asked)
                finally:
                    await pool.release(connection)

    async def execute_held(self, *args: str | int) -> object:
        """Execute a command over a connection that is kept for it; one call at a time.

        It costs a fraction of `execute`, which looks for a connection and looks whether the server has closed it. Here
        only the command finds that out, and is sent once more over a new connection. So give it only what may be
        executed twice.
        """
        with unavailable_when_down():
            async with asyncio.timeout(self._timeout):
                if self._held is not None:
                    with suppress(exceptions.ConnectionError):
                        return await self._ask_held(self._held, args)
                self._held = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # the driver's own gap
                return await self._ask_held(self._held, args)

    async def _ask_held(
        self, connection: AbstractConnection, args: tuple[str | int, ...]
    ) -> object:
        try:
            return await _ask(connection, args)
        finally:
            if not connection.is_connected:
                await self.release_held()

    async def release_held(self) -> None:
        """End the connection that is kept; the next command gets a new one."""
        held, self._held = self._held, None
        if held is not None:
            await held.disconnect(nowait=True)
            await self.connection_pool.release(held)


async def _ask(connection: AbstractConnection, args: tuple[str | int, ...]) -> object:
    """Return the answer, or raise it. The connection lives on if nothing else can be on its way."""
    try:
        command = _SERIALIZER.pack(*args)  # type: ignore[arg-type]  # what the driver means is `*args: EncodableT`
        await _send(connection, command)
        return await connection.read_response()
    except exceptions.ResponseError:
        raise
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


async def _ask_each(connection: AbstractConnection, commands: Sequence[Command]) -> list[object]:
    answers: list[object] = []
    try:
        packed = [part for args in commands for part in _SERIALIZER.pack(*args)]  # type: ignore[arg-type]  # as above
        await _send(connection, packed)
        while len(answers) < len(commands):
            try:
                answers.append(await connection.read_response())
            except exceptions.ResponseError as error:
                answers.append(error)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return answers


async def _send(connection: AbstractConnection, packed: object) -> None:
    try:
        await connection.send_packed_command(packed, check_health=False)  # type: ignore[arg-type]  # as above
    except RuntimeError as error:
        if _CLOSED not in str(error):
            raise
        raise exceptions.ConnectionError(_CLOSED) from error


_CLOSED = "the handler is closed"
"""What uvloop raises as a RuntimeError when something is written to a connection that was reset."""

# That of the driver's asynchronous connections is written in Python: a microsecond per argument.
_SERIALIZER = HiredisRespSerializer()


class _ConnectionPool(BlockingConnectionPool):
    """The driver's pool, which sees only that a connection was closed, and not that it was reset."""

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, anew if the connection was closed or reset."""
        reader = connection._reader  # noqa: SLF001 - no public name has it
        if reader is not None and reader.exception() is not None:
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


@contextmanager
def unavailable_when_down() -> Iterator[None]:
    """Turn every error that means "not now" into `Unavailable`; leave those that mean a mistake of ours alone."""
    try:
        yield
    except _UNAVAILABLE as error:
        raise Unavailable("Redis", reason=_reason(error)) from error
    except exceptions.ResponseError as error:
        if str(error).startswith(_UNAVAILABLE_CODES):
            raise Unavailable("Redis", reason=_reason(error)) from error
        raise
    except RuntimeError as error:
        if _CLOSED in str(error):
            raise Unavailable("Redis", reason=_CLOSED) from error
        raise


def _reason(error: BaseException) -> str:
    """Return what the network did, or else what the server or the driver says: neither repeats what was sent."""
    return network_reason(error) or str(error).partition("\n")[0]


def redis_client(settings: RedisSettings) -> RedisClient:
    """Return a client of one server, which connects when it is first used; close it with `aclose`."""
    return RedisClient(
        connection_pool(settings.url or "", settings.timeout), timeout=settings.timeout
    )


def connection_pool(url: str, timeout: timedelta, **options: object) -> BlockingConnectionPool:
    """Return the pool of a client; `options` are further ones of the driver."""
    return _ConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        socket_connect_timeout=timeout.total_seconds(),
        # `RedisClient` sets the deadline for waiting, writing and reading. Another one on each write would go
        # through `asyncio.wait_for`, which on Python 3.11 can swallow the cancellation that the deadline is.
        timeout=None,
        socket_timeout=None,
        # No command is sent twice behind the caller's back: whether the first one was executed is not known,
        # and a log-in attempt would be paid for, or a failure counted, again. The pool replaces connections
        # that the server closed before it hands them out, so a restarted server needs no retry.
        retry=Retry(NoBackoff(), retries=0),
        decode_responses=True,
        # One shape of replies from every version of the driver. With RESP3 the pool would also expect
        # pushed messages, and could no longer tell a connection that the server closed from a living one.
        protocol=2,
        **options,
    )
