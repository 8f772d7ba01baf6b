"""What `portico run` does when the schema of the database is not current."""

import asyncio
import signal
from pathlib import Path

import pytest

from adapters.memory.system import MemorySchema
from entrypoints.cli import run
from entrypoints.cli.code import Code
from entrypoints.cli.supervision import SupervisedProcess
from local_stack.children import Child, Spec


class SchemaBehind(MemorySchema):
    """Behind until it is upgraded."""

    def __init__(self) -> None:
        self.current = False

    async def upgrade(self) -> None:
        self.current = True

    async def is_current(self) -> bool:
        return self.current


def a_process() -> SupervisedProcess:
    async def is_ready(_: Child) -> bool:
        return True

    spec = Spec(name="api", command=("true",), environment={}, orphan_signal=signal.SIGTERM)
    return SupervisedProcess(spec, is_ready=is_ready, ready_within=1, stop_within=1, output=None)


async def test_a_migration_is_a_change_for_a_process_that_could_not_start_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "_ASK_AGAIN_AFTER", 0.001)
    schema, api, code = SchemaBehind(), a_process(), Code(tmp_path)
    watching = asyncio.create_task(run._report_migration(schema, api, code))
    await asyncio.sleep(0)

    code.report("migrations/versions/a_new_one.py")
    change = code.change
    api.start_finished.set()
    api.start_failed.set()
    await asyncio.sleep(0.01)
    assert not change.done()

    await schema.upgrade()
    assert await change == "the schema of the database"
    watching.cancel()


async def test_a_migration_is_no_change_for_a_process_that_has_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "_ASK_AGAIN_AFTER", 0.001)
    schema, api, code = SchemaBehind(), a_process(), Code(tmp_path)
    watching = asyncio.create_task(run._report_migration(schema, api, code))
    await asyncio.sleep(0)

    code.report("migrations/versions/a_new_one.py")
    change = code.change
    await asyncio.sleep(0.01)
    await schema.upgrade()
    api.start_finished.set()
    await asyncio.sleep(0.01)

    assert not change.done()
    watching.cancel()
