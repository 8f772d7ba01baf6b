"""A worker that is asked to stop hands back the tasks that it does not finish in time.

Celery waits for them as long as they take. Its own limit (`worker_soft_shutdown_timeout`) counts for SIGQUIT only, and
is waited for to its end although all tasks have ended.
"""

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from threading import Timer
from typing import Any

from celery.concurrency.prefork import TaskPool
from celery.signals import celeryd_after_setup, worker_shutting_down


def hand_back(after: Callable[[], timedelta | None]) -> None:
    """Let workers with a prefork pool end their tasks that long after SIGTERM (None: never).

    The messages of those that are acknowledged late go back to the broker. Other pools cannot end a task.
    """

    @celeryd_after_setup.connect(weak=False)
    def learn(instance: Any, **_: object) -> None:
        if issubclass(instance.pool_cls, TaskPool):
            worker_shutting_down.connect(begin, weak=False)

    def begin(how: str, **_: object) -> None:
        patience = after()
        if how == "Warm" and patience is not None:
            timer = Timer(patience.total_seconds(), os.kill, (os.getpid(), signal.SIGQUIT))
            timer.daemon = True
            timer.start()
