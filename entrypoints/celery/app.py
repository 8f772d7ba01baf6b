"""Portico's Celery application: `celery -A entrypoints.celery.app`, or `portico worker` and `portico beat`.

Importing it reads no setting and connects to nothing. Settings are found as those commands find them, those of a
running `portico run` included. If they are wrong, Celery's commands say why, without a traceback. Tasks are in
`entrypoints.celery.tasks`, and in the modules that `PORTICO_TASK_MODULES` names.
"""

import atexit
import gc

import click
from celery import bootsteps
from celery.signals import beat_init, celeryd_after_setup, setup_logging

import bootstrap
from application.setting_problems import UnsafeSettings
from application.settings import Settings
from entrypoints import garbage_collection
from entrypoints.celery import offers, rabbitmq, redis_broker, stopping
from entrypoints.celery.configuration import configuration
from entrypoints.celery.heartbeat import WorkerHeartbeat
from entrypoints.celery.process import process_settings
from entrypoints.celery.typed import TypedCelery
from local_stack.errors import LocalStackError

rabbitmq.use()
redis_broker.use()
app = TypedCelery(
    "portico",
    events="entrypoints.celery.events:WorkerEvents",
    task_cls="entrypoints.celery.recording:RecordedTask",
)
offers.use(app)
stopping.hand_back(lambda: process_settings().jobs.worker_stop)
app.steps["consumer"].add(WorkerHeartbeat)


_UNNAMED = (
    "ENVIRONMENT is not set, so this is PRODUCTION; on your own machine set ENVIRONMENT=LOCAL"
)


def _settings() -> Settings:
    try:
        return process_settings()
    except (UnsafeSettings, LocalStackError) as error:
        if click.get_current_context(silent=True) is None:
            raise
        hint = "" if bootstrap.names_environment() else f"\n{_UNNAMED}"
        raise click.ClickException(f"{error}{hint}") from error


app.add_defaults(lambda: configuration(_settings()))

if _command := click.get_current_context(silent=True):
    # Celery's own default, WARNING, would look like the choice of a user.
    _level = {"loglevel": lambda: _settings().log_level}
    _command.default_map = {"worker": _level, "beat": _level, **(_command.default_map or {})}


class NoBeatInside(bootsteps.Step):
    """Refuses `celery worker -B`: what a worker forks has no event loop to lead on."""

    def __init__(self, worker: object, *, beat: bool = False, **options: object) -> None:
        super().__init__(worker, **options)
        if beat:
            raise click.UsageError("-B: a beat is a process of its own; start `portico beat`")


app.steps["worker"].add(NoBeatInside)


@setup_logging.connect
def _log_as_we_do(loglevel: int | None = None, logfile: str | None = None, **_: object) -> None:
    bootstrap.configure_logging(process_settings(), level=loglevel, file=logfile)


@celeryd_after_setup.connect
def _freeze_heap(**_: object) -> None:
    garbage_collection.freeze_heap()


@celeryd_after_setup.connect
@beat_init.connect
def _end_soon(**_: object) -> None:
    # Looking for garbage in all that is loaded would take longer than the stop itself.
    atexit.register(gc.freeze)
