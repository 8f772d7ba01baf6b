"""Portico's own tasks. Each calls one use case and may run twice without harm."""

from uuid import UUID

from domain.scheduling.task_runs import RunId
from entrypoints.celery.app import app
from entrypoints.celery.process import container
from entrypoints.celery.recording import RECORD_END, recorder


@app.task(name="portico.prune_runs", acks_late=True, ignore_result=True)
async def prune_runs() -> int:
    """Remove runs that are older than PORTICO_RUNS_RETENTION; return how many."""
    removed: int = await (await container()).prune_runs()()
    return removed


@app.task(name="portico.deliver_audit", acks_late=True, ignore_result=True)
async def deliver_audit() -> int:
    """Bring audit entries that still wait to the audit log; return how many."""
    return await (await container()).deliver_audit()()


@app.task(name=RECORD_END, ignore_result=True)
async def record_end(run_id: str, error: str | None) -> None:
    """Record the end of a run that its own process cannot record."""
    (await recorder()).finish(RunId(UUID(run_id)), error=error)
