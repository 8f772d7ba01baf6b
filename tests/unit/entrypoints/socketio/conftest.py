from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """Return the lines that are logged; a traceback of every failure would cost more than the test."""
    with capture_logs() as lines:
        yield lines
