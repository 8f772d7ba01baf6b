"""Portico's own tasks. Each calls one use case and may run twice without harm."""

from uuid import UUID

import structlog

from application.metrics import FILES_DISAGREE
from domain.scheduling.task_runs import RunId
from entrypoints.celery.app import app
from entrypoints.celery.process import container, measured
from entrypoints.celery.recording import RECORD_END, recorder

_MOST_NAMED = 20

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.files")


@app.task(name="portico.prune_runs", acks_late=True, ignore_result=True)
async def prune_runs() -> int:
    """Remove runs that are older than PORTICO_RUNS_RETENTION; return how many."""
    removed: int = await (await container()).prune_runs()()
    return removed


@app.task(name="portico.deliver_audit", acks_late=True, ignore_result=True)
async def deliver_audit() -> int:
    """Bring audit entries that still wait to the audit log; return how many."""
    return await (await container()).deliver_audit()()


@app.task(name="portico.expire_uploads", acks_late=True, ignore_result=True)
async def expire_uploads() -> int:
    """Give up uploads that were not finished in time; return how many."""
    return await (await container()).expire_uploads()()


@app.task(name="portico.purge_files", acks_late=True, ignore_result=True)
async def purge_files() -> int:
    """Remove the objects of deleted files from the store; return how many."""
    return await (await container()).purge_files()()


@app.task(name="portico.purge_rooms", acks_late=True, ignore_result=True)
async def purge_rooms() -> int:
    """Delete the messages of deleted rooms; return of how many."""
    return await (await container()).purge_rooms()()


@app.task(name="portico.compare_files", acks_late=True)
async def compare_files() -> dict[str, object]:
    """Compare the table of files with the bucket; return what they disagree about, and log it."""
    found = await (await container()).compare_files()()
    report = {
        "objects": found.objects,
        "orphans": len(found.orphans),
        "missing": len(found.missing),
        "deleted": found.deleted,
        "refused": found.refused,
        "examples": [*found.orphans[:_MOST_NAMED], *found.missing[:_MOST_NAMED]],
    }
    for kind, keys in (("missing", found.missing), ("orphan", found.orphans)):
        for _ in keys:
            measured.metrics.count(FILES_DISAGREE, kind)
    if found.orphans or found.missing:
        _log.warning("files and bucket disagree", **report)
    return report


@app.task(name=RECORD_END, ignore_result=True)
async def record_end(run_id: str, error: str | None) -> None:
    """Record the end of a run that its own process cannot record."""
    (await recorder()).finish(RunId(UUID(run_id)), error=error)
