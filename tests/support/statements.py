"""What PostgreSQL is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine


@contextmanager
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """Collect the first word of every statement."""
    said: list[str] = []

    def listen(_: Any, __: Any, statement: str, *___: Any) -> None:
        said.append(statement.split(maxsplit=1)[0])

    event.listen(engine.sync_engine, "before_cursor_execute", listen)
    yield said
    event.remove(engine.sync_engine, "before_cursor_execute", listen)
