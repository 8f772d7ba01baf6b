"""The application whose beats and workers `test_beat.py` starts: Portico's own, with tasks that say that they ran.

Run as `celery -A tests.e2e.beat_app beat` and `… worker`. `BEAT_SCHEDULE` is the configuration, in JSON. A beat
hangs while it publishes the task whose name `HANG` is.
"""

import ctypes
import json
import os
import sys
import time
from functools import cache
from typing import Any

from celery.signals import before_task_publish
from redis import Redis

from entrypoints.celery.app import app

app.conf.beat_schedule = json.loads(os.environ.get("BEAT_SCHEDULE", "{}"))  # noqa: TID251 - these are the tests' own


@cache
def _redis() -> Redis:
    return Redis.from_url(str(app.conf.broker_url), socket_timeout=10)


@app.task(bind=True, name="tests.note", ignore_result=True)
def note(self: Any, where: str) -> None:
    """Note for which slot this runs."""
    _redis().rpush(f"ran:{where}", self.request.headers["scheduled_for"])


@app.task(name="tests.hang", ignore_result=True)
def hang(_where: str) -> None:
    """Do nothing."""


@before_task_publish.connect
def _hang(sender: str = "", **_: object) -> None:
    if sender == os.environ.get("HANG"):  # noqa: TID251 - these are the tests' own
        sys.stderr.write("it hangs\n")
        if os.environ.get("HANG_IN") == "C":  # noqa: TID251
            mutex = ctypes.create_string_buffer(64)
            while True:  # the second call waits for the first, and no signal ends that
                ctypes.CDLL(None).pthread_mutex_lock(mutex)
        time.sleep(3600)
