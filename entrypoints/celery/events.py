"""Worker events for monitors. They are sent without retries, so that a broker that is away cannot block a worker."""

from typing import Any

from celery.app.events import Events
from celery.events import EventDispatcher


class OneAttempt(EventDispatcher):
    """Sends each event once. Events that the broker does not accept are buffered and sent later.

    Celery's dispatcher retries heartbeats for ever, under a lock that a worker needs to stop.
    """

    def send(self, *args: Any, **fields: Any) -> Any:
        return super().send(*args, **{**fields, "retry": False})


class WorkerEvents(Events):
    """Events of an application whose workers can stop while the broker is away."""

    dispatcher_cls = f"{__name__}:{OneAttempt.__name__}"
