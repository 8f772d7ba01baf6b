"""The jobs of Portico itself: each calls one use case, may run twice without harm, and is acknowledged when done."""

from entrypoints.celery.app import app
from entrypoints.celery.process import container


@app.task(name="portico.prune_runs", acks_late=True, ignore_result=True)
async def prune_runs() -> int:
    """Remove runs that are older than PORTICO_RUNS_RETENTION; return how many."""
    removed: int = await (await container()).prune_runs()()
    return removed


@app.task(name="portico.deliver_audit", acks_late=True, ignore_result=True)
async def deliver_audit() -> int:
    """Bring audit entries that still wait to the audit log; return how many."""
    return await (await container()).deliver_audit()()
