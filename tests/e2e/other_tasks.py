"""A task that a worker with another `PORTICO_TASK_MODULES` has."""

from entrypoints.celery.app import app


@app.task(name="other.nothing")
def nothing() -> None:
    """Do nothing."""
