"""Portico's Celery application: `celery -A entrypoints.celery.app`, or `portico worker` and `portico beat`.

Importing it reads no setting and connects to nothing. Tasks are in `entrypoints.celery.tasks`, and in the modules that
`PORTICO_TASK_MODULES` names.
"""

from typing import Any

from celery.signals import setup_logging

import bootstrap
from entrypoints.celery.configuration import configuration
from entrypoints.celery.process import process_settings
from entrypoints.celery.typed import TypedCelery

app = TypedCelery("portico")


def _configuration() -> dict[str, Any]:
    return configuration(process_settings())


app.add_defaults(_configuration)


@setup_logging.connect
def _log_as_we_do(**_: object) -> None:
    bootstrap.configure_logging(process_settings())
