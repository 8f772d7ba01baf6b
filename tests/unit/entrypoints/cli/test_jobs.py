"""What `portico worker` and `portico beat` do before they become Celery's commands."""

import pytest

from adapters.memory.system import MemorySchema
from domain.errors import Unavailable
from entrypoints.cli.jobs import is_current


class BusySchema(MemorySchema):
    """Does not answer the first times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def is_current(self) -> bool:
        self.times -= 1
        if self.times >= 0:
            raise Unavailable("PostgreSQL")
        return await super().is_current()


async def test_a_database_that_is_busy_for_a_moment_does_not_end_the_start() -> None:
    assert await is_current(BusySchema(3), patience=5, pause=0.001)


async def test_one_that_is_busy_for_too_long_does() -> None:
    with pytest.raises(Unavailable):
        await is_current(BusySchema(10**9), patience=0.01, pause=0.001)
