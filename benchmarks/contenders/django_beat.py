"""django-celery-beat."""

import json
from datetime import datetime, timedelta
from urllib.parse import unquote, urlsplit

import django
from celery import Celery
from django.conf import settings

from benchmarks.contenders.measuring import Order, Scheduler, measure, order


class DjangoBeat:
    """Tasks are Django models."""

    def __init__(self, wanted: Order) -> None:
        url = urlsplit(wanted.postgres)
        settings.configure(
            USE_TZ=True,
            TIME_ZONE="UTC",
            INSTALLED_APPS=["django_celery_beat"],
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": url.path.removeprefix("/"),
                    "USER": url.username,
                    "PASSWORD": unquote(url.password or ""),
                    "HOST": url.hostname,
                    "PORT": url.port,
                }
            },
        )
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415 - Django's rule: after its set-up
        from django.db import connection  # noqa: PLC0415
        from django_celery_beat import models  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        self.app = Celery("bench", broker=wanted.broker, set_as_current=True)
        self.app.conf.update(task_ignore_result=True, timezone="UTC", enable_utc=True)
        self._models = models
        self._statements = 0
        connection.execute_wrappers.append(self._count)

    def seed(self, tasks: int) -> None:
        models = self._models
        models.PeriodicTask.objects.all().delete()
        intervals = [
            models.IntervalSchedule.objects.create(every=3600 * 24 + n, period="seconds")
            for n in range(50)
        ]
        crontabs = [
            models.CrontabSchedule.objects.create(
                minute=str(n), hour="*", day_of_month="1", month_of_year="2"
            )
            for n in range(50)
        ]
        models.PeriodicTask.objects.bulk_create(
            (
                models.PeriodicTask(name=f"task {n}", task="bench.noop", interval=intervals[n % 50])
                if n % 2
                else models.PeriodicTask(
                    name=f"task {n}", task="bench.noop", crontab=crontabs[n % 50]
                )
                for n in range(tasks)
            ),
            batch_size=2000,
        )

    def start(self) -> Scheduler:
        from django_celery_beat.schedulers import DatabaseScheduler  # noqa: PLC0415

        scheduler: Scheduler = DatabaseScheduler(app=self.app)
        scheduler.tick()
        return scheduler

    def change_one(self) -> None:
        task = self._models.PeriodicTask.objects.get(name="task 1")
        task.kwargs = json.dumps({"changed": self._statements})
        task.save()

    def refresh(self, scheduler: Scheduler) -> None:
        scheduler.tick()

    def make_due(self, tasks: int, at: datetime) -> None:
        models = self._models
        schedule = models.IntervalSchedule.objects.create(every=3600, period="seconds")
        models.PeriodicTask.objects.bulk_create(
            models.PeriodicTask(
                name=f"due {n}",
                task="bench.noop",
                interval=schedule,
                last_run_at=at - timedelta(hours=1),
            )
            for n in range(tasks)
        )

    def statements(self) -> int:
        return self._statements

    def _count(self, execute, sql, params, many, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - Django's
        self._statements += 1
        return execute(sql, params, many, context)


if __name__ == "__main__":
    measure(DjangoBeat(order()), order())
