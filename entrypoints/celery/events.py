"""What workers tell monitors of themselves: sent once, so that it never holds anything up."""

from typing import Any

from celery.app.events import Events
from celery.events import EventDispatcher


class OneAttempt(EventDispatcher):
    """Keeps what a broker does not take, and sends it later.

    Celery's retries heartbeats for ever, under a lock that the end of a worker needs: without a broker it would
    never end.
    """

    def send(self, *args: Any, **fields: Any) -> Any:
        return super().send(*args, **{**fields, "retry": False})


class WorkerEvents(Events):
    """Events of an application whose workers end whatever becomes of the broker."""

    dispatcher_cls = f"{__name__}:{OneAttempt.__name__}"
