"""sqlalchemy-celery-beat."""

import json
from datetime import datetime, timedelta

from celery import Celery
from sqlalchemy import event
from sqlalchemy_celery_beat import models
from sqlalchemy_celery_beat.schedulers import DatabaseScheduler
from sqlalchemy_celery_beat.session import SessionManager

from benchmarks.contenders.measuring import Order, Scheduler, measure, order


class SqlalchemyBeat:
    """Tasks are models of SQLAlchemy's ORM."""

    def __init__(self, wanted: Order) -> None:
        url = wanted.postgres.replace("postgresql://", "postgresql+psycopg://", 1)
        self.app = Celery("bench", broker=wanted.broker)
        self.app.conf.update(
            task_ignore_result=True,
            timezone="UTC",
            enable_utc=True,
            beat_dburi=url,
            beat_schema="scb",
        )
        manager = SessionManager()
        engine, self._session = manager.create_session(url, schema="scb")
        manager.prepare_models(engine, schema="scb")
        self._statements = 0

    def seed(self, tasks: int) -> None:
        with self._session() as session:
            session.query(models.PeriodicTask).delete()
            intervals = [
                models.IntervalSchedule(every=3600 * 24 + n, period=models.Period.SECONDS)
                for n in range(50)
            ]
            crontabs = [
                models.CrontabSchedule(
                    minute=str(n), hour="*", day_of_month="1", month_of_year="2", timezone="UTC"
                )
                for n in range(50)
            ]
            session.add_all([*intervals, *crontabs])
            session.flush()
            session.bulk_insert_mappings(
                models.PeriodicTask,
                [
                    self._row(f"task {n}", (intervals if n % 2 else crontabs)[n % 50])
                    for n in range(tasks)
                ],
            )
            session.commit()

    def start(self) -> Scheduler:
        scheduler: Scheduler = DatabaseScheduler(app=self.app)
        event.listen(scheduler.engine, "before_cursor_execute", self._count)  # type: ignore[attr-defined]
        scheduler.tick()
        return scheduler

    def change_one(self) -> None:
        with self._session() as session:
            task = session.query(models.PeriodicTask).filter_by(name="task 1").one()
            task.kwargs = json.dumps({"changed": self._statements})
            session.commit()

    def refresh(self, scheduler: Scheduler) -> None:
        scheduler.tick()

    def make_due(self, tasks: int, at: datetime) -> None:
        with self._session() as session:
            schedule = models.IntervalSchedule(every=3600, period=models.Period.SECONDS)
            session.add(schedule)
            session.flush()
            last_run = {"last_run_at": at - timedelta(hours=1)}
            session.bulk_insert_mappings(
                models.PeriodicTask,
                [self._row(f"due {n}", schedule) | last_run for n in range(tasks)],
            )
            session.commit()

    def statements(self) -> int:
        return self._statements

    def _row(self, name: str, schedule: models.ScheduleModel) -> dict[str, object]:
        return {
            "name": name,
            "task": "bench.noop",
            "discriminator": schedule.discriminator,
            "schedule_id": schedule.id,
        }

    def _count(self, *_: object) -> None:
        self._statements += 1


if __name__ == "__main__":
    measure(SqlalchemyBeat(order()), order())
