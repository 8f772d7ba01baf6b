"""Logs: one configuration for our code and every library.

Lines of our own loggers are formed and written by structlog alone; a record of `logging` and a second formatter would
cost a request more than its handler. What libraries log comes through `logging`, in the same form.

Lines are JSON where machines read them (STAGING, PRODUCTION) and text where people do (LOCAL, TESTING).
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from datetime import datetime
from enum import Enum
from functools import lru_cache, partial
from logging.handlers import WatchedFileHandler
from pathlib import PurePath
from typing import TextIO
from uuid import UUID

from adapters.lean_imports import absent
from application.settings import Settings

# Its tracebacks for people, which we do not print, would load rich: 4 MB.
with absent("rich"):
    import structlog
    from structlog.tracebacks import ExceptionDictTransformer
    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

_MASK = "[masked]"
_SECRET_NAME = re.compile(
    r"passw(or)?d|token|authori[sz]ation|cookie|secret|ciphertext|credential|private_?key|api_?key",
    re.IGNORECASE,
)
# JSON Web Tokens, and the user and password in an address, wherever they occur in a text.
_SECRET_TEXT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=://)[^/@\s]*:[^/@\s]*(?=@)")
# C0 with CR, LF and ESC, DEL, C1, and the two other line ends of Unicode.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINE_END = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")

# These write what they send and receive at DEBUG or INFO, or a line per request of their own.
_TALKATIVE = (
    "aiobotocore",
    "alembic.runtime.migration",
    "alembic.runtime.plugins",
    "boto3",
    "botocore",
    "engineio",
    "engineio.client",
    "engineio.server",
    "pymongo",
    "socketio",
    "socketio.client",
    "socketio.server",
    "sqlalchemy.engine",
    "uvicorn.access",
)
# These bring handlers of their own; without them their lines come to ours.
_WITH_HANDLERS = (*_TALKATIVE, "celery", "celery.task", "kombu", "uvicorn", "uvicorn.error")


def configure_logging(
    settings: Settings, *, level: int | None = None, file: str | None = None
) -> None:
    """Send every log line of the process to one place, in one form; calling it again changes nothing more.

    That is standard error, or a file, which may be moved away meanwhile. `level` stands in for that of the settings.

    Lines carry an ISO 8601 time in UTC, the level, the logger, and what `structlog.contextvars` holds. Keys that
    look secret, tokens, and passwords in addresses are masked; control characters are escaped.
    """
    handler = (
        logging.StreamHandler(sys.stderr)
        if file is None
        else WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    )
    rendering = (
        _as_json()
        if settings.environment.deployed
        else _as_text(colors=file is None and sys.stderr.isatty())
    )
    least = level or settings.log_level
    facts = _facts(traced=settings.traces.url is not None)
    handler.addFilter(_leave_out_what_tasks_carry)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.ExtraAdder(),
                structlog.stdlib.PositionalArgumentsFormatter(),
                *facts,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=least, force=True)
    for name in _WITH_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *facts, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=partial(LineLogger, handler),
        cache_logger_on_first_use=False,
    )


_unless_it_cannot_be_written = suppress(OSError, ValueError)


class LineLogger:
    """Writes lines that are complete, with the lock and to the stream of a handler of `logging`."""

    def __init__(
        self, handler: "logging.StreamHandler[TextIO] | WatchedFileHandler", name: str = "portico"
    ) -> None:
        self._handler = handler
        self.name = name

    def write(self, line: str) -> None:
        """Write one line. One that cannot be written, on a full disk or a closed pipe, is lost, as `logging` has it."""
        handler = self._handler
        with handler.lock or nullcontext(), _unless_it_cannot_be_written:
            if isinstance(handler, WatchedFileHandler):
                handler.reopenIfNeeded()
            if handler.stream is not None:
                handler.stream.write(f"{line}\n")
                handler.stream.flush()

    debug = info = warning = error = critical = write


def _leave_out_what_tasks_carry(record: logging.LogRecord) -> bool:
    """Keep the name and id of the task; drop its arguments and its result, which may be secret."""
    if not record.name.startswith("celery."):
        return True
    data = record.__dict__.pop("data", None)
    if isinstance(data, Mapping):
        record.task, record.task_id = data.get("name"), data.get("id")
        if isinstance(record.args, Mapping) and "return_value" in record.args:
            record.args = {**record.args, "return_value": _MASK}
    return True


def _facts(*, traced: bool) -> list[Processor]:
    return [
        *([_add_trace] if traced else ()),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    from adapters.observability.traces import trace_id  # noqa: PLC0415 - only where there are traces

    if "trace_id" not in event and (current := trace_id()):
        event["trace_id"] = current
    return event


def _as_json() -> list[Processor]:
    return [
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        clean,
        structlog.processors.EventRenamer("message"),
        _render_json,
    ]


# json.dumps would make one for each line.
_encoder = json.JSONEncoder(sort_keys=True, check_circular=False)


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _encoder.encode(event)


def _as_text(*, colors: bool) -> list[Processor]:
    return [
        clean,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_indented_traceback),
    ]


def clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask secrets, and escape line breaks and terminal control sequences."""
    event.pop("color_message", None)  # uvicorn says everything twice
    return {
        key: value if key == "exc_info" else _cleaned(key, value) for key, value in event.items()
    }


def _cleaned(key: str, value: object) -> object:
    if _is_secret(key):
        return _MASK
    match value:
        case str() | Enum() | UUID() | PurePath() | datetime():
            return _printable(str(value))
        case bool() | int() | float() | None:  # before Mapping, a slow question
            return value
        case Mapping():
            return {str(k): _cleaned(str(k), v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_cleaned("", v) for v in value]
        case _:
            return _printable(repr(value))


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_NAME.search(key) is not None


def _printable(text: str) -> str:
    if text.isprintable() and "eyJ" not in text and "://" not in text:
        return text  # neither expression matches
    return _CONTROL.sub(_escape, _SECRET_TEXT.sub(_MASK, text))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _indented_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    # Every line is indented, so that no message of an exception can look like a log line.
    text = _SECRET_TEXT.sub(_MASK, "".join(traceback.format_exception(*exc_info)))
    out.writelines(
        f"\n    {line}" for line in _CONTROL_BUT_LINE_END.sub(_escape, text).splitlines()
    )
