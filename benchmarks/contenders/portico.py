"""Ours. Settings come from the environment, as ever."""

import asyncio
import json
import os
from datetime import datetime

import psycopg
from sqlalchemy import Engine, event

import bootstrap
from benchmarks.contenders.measuring import Order, measure, order
from domain.scheduling.periodic_tasks import PeriodicTask
from entrypoints.celery.app import app
from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.scheduler import DatabaseScheduler

_SEED = """
INSERT INTO periodic_tasks (name, task, kind, schedule)
SELECT 'task ' || n, 'bench.noop',
       CASE n %% 2 WHEN 1 THEN 'interval' ELSE 'crontab' END,
       CASE n %% 2
         WHEN 1 THEN jsonb_build_object('every', 86400 + n %% 50, 'period', 'seconds')
         ELSE jsonb_build_object('minute', (n %% 50)::text, 'day_of_month', '1', 'month_of_year', '2')
       END
  FROM generate_series(0, %s - 1) AS n
"""
_MAKE_DUE = """
INSERT INTO periodic_tasks (name, task, kind, schedule, start_at)
SELECT 'due ' || n || %s, 'bench.noop', 'interval', jsonb_build_object('every', 3600, 'period', 'seconds'), %s
  FROM generate_series(0, %s - 1) AS n
"""
_CHANGE = "UPDATE periodic_tasks SET kwargs = %s WHERE name = 'task 1' RETURNING id, changed_in"


class Portico:
    """Tasks are rows; a beat hears of what changes."""

    def __init__(self, wanted: Order) -> None:
        asyncio.run(_migrate())
        # No peer has tasks of its own either; ours run each minute, in one idle window of six.
        app.conf.beat_schedule = {}
        self._connection = psycopg.connect(wanted.postgres, autocommit=True)
        self._tasks = wanted.tasks
        self._statements = 0
        self._changes = 0
        event.listen(Engine, "before_cursor_execute", self._count)

    def seed(self, tasks: int) -> None:
        self._connection.execute("DELETE FROM periodic_tasks")
        self._connection.execute(_SEED, [tasks])
        self._connection.execute("ANALYZE")

    def start(self) -> DatabaseScheduler:
        scheduler = DatabaseScheduler(app=app)
        scheduler.max_interval = 0.001
        while len(scheduler.engine.queue) < self._tasks or not scheduler.engine.leads:
            scheduler.tick()
        return scheduler

    def change_one(self) -> None:
        self._changes += 1
        kwargs = json.dumps({"changed": self._changes})
        self._changed = self._connection.execute(_CHANGE, [kwargs]).fetchone()

    def refresh(self, scheduler: DatabaseScheduler) -> None:
        assert self._changed is not None  # noqa: S101 - something was changed
        wanted = {"changed": self._changes}
        while True:
            scheduler.tick()
            entry = scheduler.engine.queue.find(self._changed[0])
            task = entry.task if entry else None
            if isinstance(task, PeriodicTask) and task.definition.kwargs == wanted:
                return

    def make_due(self, tasks: int, at: datetime) -> None:
        self._connection.execute(_MAKE_DUE, [f" at {at}", at, tasks])
        self._tasks += tasks

    def statements(self) -> int:
        return self._statements

    def _count(self, *_: object) -> None:
        self._statements += 1


async def _migrate() -> None:
    settings = bootstrap.load_settings()
    async with bootstrap.running(bootstrap.build(settings)) as container:
        await container.schema().upgrade()


if __name__ == "__main__":
    wanted = order()
    os.environ.update(  # noqa: TID251 - written for `adapters.environment`, not read
        PORTICO_POSTGRES_URL=wanted.postgres,
        PORTICO_REDIS_URL=wanted.broker,
        PORTICO_LOG_LEVEL="WARNING",
        ENVIRONMENT="LOCAL",
        # Never asked here.
        PORTICO_MONGO_URL="mongodb://127.0.0.1:9",
        PORTICO_S3_URL="http://127.0.0.1:9",
        PORTICO_S3_ACCESS_KEY="unused",
        PORTICO_S3_SECRET_KEY="unused-unused",  # noqa: S106 - nobody listens there
    )
    measure(Portico(wanted), wanted)
    process_loop.stop()
