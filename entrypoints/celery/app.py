"""Portico's Celery application: `celery -A entrypoints.celery.app`, or `portico worker` and `portico beat`.

Importing it reads no setting and connects to nothing. Tasks are in `entrypoints.celery.tasks`, and in the modules that
`PORTICO_TASK_MODULES` names.
"""

import asyncio
import logging
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_after_setup, setup_logging

import bootstrap
from domain.errors import Unavailable
from entrypoints.celery import rabbitmq
from entrypoints.celery.catalogue import registered_tasks
from entrypoints.celery.configuration import configuration
from entrypoints.celery.process import process_settings
from entrypoints.celery.typed import TypedCelery

_log = logging.getLogger(__name__)

rabbitmq.use()
app = TypedCelery(
    "portico",
    events="entrypoints.celery.events:WorkerEvents",
    task_cls="entrypoints.celery.recording:RecordedTask",
)


def _configuration() -> dict[str, Any]:
    return configuration(process_settings())


app.add_defaults(_configuration)


@setup_logging.connect
def _log_as_we_do(**_: object) -> None:
    bootstrap.configure_logging(process_settings())


# Before a worker has children: what this opens, it closes, and they inherit none of it.
@celeryd_after_setup.connect
@beat_init.connect
def _introduce(**_: object) -> None:
    try:
        asyncio.run(_sync(app))
    except Unavailable as error:
        _log.warning("the API does not learn which tasks there are: %s", error)


async def _sync(app: Celery) -> None:
    async with bootstrap.running(bootstrap.build_without_keys(process_settings())) as container:
        await container.sync_tasks()(registered_tasks(app))
