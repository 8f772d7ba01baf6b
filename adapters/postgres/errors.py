"""Where errors of the driver end: as facts of the domain or, if they are bugs of ours, as they are."""

from collections.abc import Mapping

import asyncpg
from sqlalchemy.engine import AdaptedConnection, ExceptionContext
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.pool import ManagesConnection

from adapters.reasons import NO_TLS, chain, network_reason
from domain.errors import PorticoError, Unavailable

# SQLSTATEs that mean "not now" and not "wrong" (PostgreSQL documentation, appendix A).
_NOT_NOW = (
    "08",  # connection exceptions
    "53",  # insufficient resources: connections, memory, disk
    "57P",  # shutting down, starting up, crashed
    "42501",  # the user may not do this; until the operator mends it, nothing works
    "25006",  # read-only: the server is no longer the primary
    "25P03",  # the transaction idled for too long
    "40001",  # serialisation failure
    "40P01",  # deadlock
    "55P03",  # a lock was not to be had in time
    "57014",  # the statement took too long
)


def conflict(error: Exception, known: Mapping[str, PorticoError]) -> PorticoError | None:
    """Return the error that `known` has for the broken constraint, or None if the error is another one."""
    if not isinstance(error, IntegrityError):
        return None
    return known.get(getattr(error.driver_exception, "constraint_name", None) or "")


def unavailable(error: BaseException) -> Unavailable:
    """Return the one error that stands for a database that is down, unreachable, closed to us, too slow or full."""
    return Unavailable("PostgreSQL", reason=_reason(error))


def _reason(error: BaseException) -> str | None:
    for each in chain(error):
        match each:
            case asyncpg.PostgresError(message=str(message)):
                return message  # the server's own words, which name users and databases
            case asyncpg.InterfaceError():
                return str(each).partition("\n")[0]
            case PoolExhausted():
                return "every connection of the pool is in use"
            case ConnectionError() if "rejected SSL upgrade" in str(each):
                return NO_TLS
            case _:
                pass
    return network_reason(error)


def raise_if_unavailable(context: ExceptionContext) -> None:
    """Raise `Unavailable` for errors of the server or the network; a listener of the event `handle_error`."""
    error = context.original_exception
    if isinstance(error, OSError):
        # The socket broke, or the driver waited in vain (`TimeoutError`): the other connections of the
        # pool are as old and no better.
        context.is_disconnect = context.invalidate_pool_on_disconnect = True
    connection = context.connection
    if context.is_disconnect and connection is not None and not connection.invalidated:
        # The connection is lost, or was cancelled in the middle. An orderly close might wait forever; a statement
        # that still runs on the server ends at its own time-out.
        terminate(connection.connection)
    if isinstance(error, Exception) and (
        context.is_disconnect or (getattr(error, "sqlstate", None) or "").startswith(_NOT_NOW)
    ):
        raise unavailable(error) from error


def terminate(connection: ManagesConnection | AdaptedConnection) -> None:
    """Close the socket at once, without the protocol's goodbye."""
    if connection.driver_connection is not None:
        connection.driver_connection.terminate()
