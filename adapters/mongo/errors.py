"""Turns errors of the driver into `Unavailable`, unless they are bugs of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
)

from adapters.reasons import NO_ANSWER, UNKNOWN_HOST, chain, network_reason
from domain.errors import Unavailable

# Codes of the server that mean "not now" and not "wrong", beyond those that the driver has classes or labels for.
_NOT_NOW = frozenset(
    {
        13,  # Unauthorized and
        18,  # AuthenticationFailed: until the operator mends the password or the role, nothing works
        24,  # LockTimeout
        64,  # WriteConcernTimeout
        91,  # ShutdownInProgress
        112,  # WriteConflict
        189,  # PrimarySteppedDown
        251,  # NoSuchTransaction: an error before has ended it, or it took too long
        11600,  # InterruptedAtShutdown
        14031,  # OutOfDiskSpace
    }
)
_LABELS = (
    "RetryableWriteError",
    "TransientTransactionError",
    "UnknownTransactionCommitResult",
    "SystemOverloadedError",
)

DUPLICATE = 11000
"""The code of a duplicate key."""


@contextmanager
def unavailable_when_down() -> Iterator[None]:
    """Turn every error that means "not now" into `Unavailable`; leave those that are bugs of ours unchanged."""
    try:
        yield
    except PyMongoError as error:
        if _is_not_now(error):
            raise Unavailable("MongoDB", reason=_reason(error)) from error
        raise


def _is_of_dns(error: PyMongoError) -> bool:
    """Return whether the hosts of `mongodb+srv://` could not be found."""
    cause = type(error.__cause__).__module__
    return isinstance(error, ConfigurationError) and cause.startswith("dns.")


def _reason(error: PyMongoError) -> str:
    if _is_of_dns(error):
        return UNKNOWN_HOST
    if reason := network_reason(error):
        return reason
    for each in chain(error):
        if isinstance(each, OperationFailure):
            return (each.details or {}).get("errmsg") or "it refuses the operation"
    return NO_ANSWER if error.timeout else type(error).__name__


def _is_not_now(error: PyMongoError) -> bool:
    if isinstance(error, ConnectionFailure) or error.timeout or _is_of_dns(error):
        return True
    if any(error.has_error_label(label) for label in _LABELS):
        return True
    if isinstance(error, BulkWriteError):
        refused = error.details.get("writeErrors", ())
        return bool(error.details.get("writeConcernErrors")) or any(
            one["code"] in _NOT_NOW for one in refused
        )
    return isinstance(error, OperationFailure) and error.code in _NOT_NOW
