"""Ask the broker once whether it lets us in: `python -m entrypoints.celery.broker`.

Exit code 0 says yes. Otherwise a line says why not.
"""

import sys

from kombu.exceptions import OperationalError

from entrypoints.celery.app import app


def ask() -> int:
    """Connect, and return an exit code."""
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=0)
        except OperationalError as error:
            sys.stderr.write(f"portico: {connection.as_uri()}: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(ask())
