"""The log lines of requests: one each, written once their responses are on the way.

All that end in one turn of the event loop are written together. One after the other such a line costs a third of what
it does among all the rest of a request, which has to be fetched into the caches of the processor in between.
"""

import asyncio
import logging
from contextvars import Context

import structlog
from starlette.types import Scope

from entrypoints.http.request_context import RequestContext, quoted_path

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")
# The standard logger tells the level cheaply; structlog would first build a logger.
_level = logging.getLogger("portico.http")


class RequestLog:
    """Writes the lines of one application, at level INFO.

    A process that stops by itself ends its turn first; one that is killed loses the
    lines of its last turn.
    """

    def __init__(self) -> None:
        self._lines: list[dict[str, object]] = []

    def add(self, scope: Scope, method: str, context: RequestContext, seconds: float) -> None:
        """Write the line of a request that took `seconds`, after what else is to be done in this turn."""
        if not _level.isEnabledFor(logging.INFO):
            return
        if not self._lines:
            # Not in the context of this request: its facts are none of the other lines'.
            asyncio.get_running_loop().call_soon(self._write, context=Context())
        line: dict[str, object] = {
            "method": method,
            "route": context.route,
            "status": context.status,
            "duration_ms": round(seconds * 1000, 2),
            "client": context.client,
            "request_id": context.request_id,
        }
        if context.route is None:
            line["path"] = quoted_path(scope)
        self._lines.append(line | context.log_fields())

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        log = _log.bind()
        for line in lines:
            log.info("request", **line)
