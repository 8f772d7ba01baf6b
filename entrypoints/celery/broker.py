"""Ask the broker once whether it lets us in: `python -m entrypoints.celery.broker`; `… result` asks where results are.

Exit code 0 says yes. Otherwise the last line on standard error says why not.
"""

import sys
from typing import Any

from kombu.exceptions import OperationalError

from entrypoints.celery.app import app


def ask() -> int:
    """Connect, and return an exit code."""
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=0)
        except OperationalError as error:
            return _refused(connection.as_uri(), error)
    return 0


def ask_results() -> int:
    """Connect to where results are kept, and return an exit code."""
    backend: Any = app.backend
    try:
        backend.client.ping()
    except (*backend.connection_errors, *backend.channel_errors) as error:
        return _refused(backend.as_uri(), error)
    return 0


def _refused(address: str, error: Exception) -> int:
    sys.stderr.write(f"{address}: {' '.join(str(error).split())}\n")
    return 1


if __name__ == "__main__":
    sys.exit(ask_results() if sys.argv[1:] == ["result"] else ask())
