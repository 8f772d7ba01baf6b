"""The application whose beats and workers `test_beat.py` starts: Portico's own, with tasks that say that they ran.

Run as `celery -A tests.e2e.beat_app beat` and `… worker`. `BEAT_SCHEDULE` is the configuration, in JSON.
"""

import json
import os
from functools import cache
from typing import Any

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
