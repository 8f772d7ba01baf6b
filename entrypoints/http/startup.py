"""Checks before the first request: dependencies answer, the schema is current, and the process is registered."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from application.ports.system import MigrationsRefused
from application.use_cases.health import CheckReadiness
from bootstrap import Container
from domain.errors import Unavailable
from domain.permissions import Route

# Half a minute in total: enough for servers that start together with this process.
PATIENCE = (1.0, 2.0, 4.0, 8.0, 15.0)

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")


class StartRefused(RuntimeError):
    """The process cannot start; uvicorn exits with code 3."""


class DependencyDown(StartRefused):
    """A dependency did not answer in time."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        said = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        super().__init__(f"{said}; is the address right, and the server up?")
        self.down = tuple(reasons)


class SchemaNotCurrent(StartRefused):
    """The schema of the database does not match this code."""

    def __init__(
        self, why: str = "The database schema is not current; run `portico migrate` first"
    ) -> None:
        super().__init__(why)


async def ready(container: Container, *, patience: Sequence[float] = PATIENCE) -> None:
    """Wait until the process can start, `patience` seconds between attempts; raise `StartRefused` if it cannot."""
    check = CheckReadiness(
        # The others would hold up the start while they are down, and change nothing.
        probes=[probe for probe in container.probes() if probe.required],
        clock=container.clock(),
        cached_for=timedelta(0),
    )
    for seconds in (*patience, None):
        readiness = await check()
        if set(readiness.down) <= {"schema"}:  # checked below; waiting does not help
            break
        if seconds is None:
            _log.error("start refused", down=readiness.down, reasons=readiness.reasons)
            raise DependencyDown(readiness.reasons)
        _log.warning(
            "waiting for what does not answer",
            down=readiness.down,
            reasons=readiness.reasons,
            seconds=seconds,
        )
        await asyncio.sleep(seconds)
    try:
        is_current = await container.schema().is_current()
    except MigrationsRefused as error:
        _log.error("start refused", schema=str(error))
        raise SchemaNotCurrent(str(error)) from None
    if not is_current:
        _log.error("start refused", schema="not current")
        raise SchemaNotCurrent


async def register_process(
    container: Container, routes: Sequence[Route], *, patience: Sequence[float] = PATIENCE
) -> None:
    """Sync the catalogue of routes and record the keys that this process uses; retry like `ready`."""
    for seconds in (*patience, None):
        try:
            await container.sync_routes()(routes)
            await container.record_active_keys()()
        except Unavailable as error:  # for example while many processes start at once
            reason = error.reason or "no answer"
            if seconds is None:
                raise DependencyDown({error.dependency: reason}) from error
            _log.warning(
                "waiting for what does not answer",
                down=error.dependency,
                reason=reason,
                seconds=seconds,
            )
            await asyncio.sleep(seconds)
        else:
            return


@asynccontextmanager
async def making_bucket(
    container: Container, *, patience: Sequence[float] = PATIENCE
) -> AsyncIterator[None]:
    """Make the bucket for files meanwhile, if there is none and the store lets us. No request waits for it."""
    task = asyncio.create_task(_make_bucket(container, patience))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _make_bucket(container: Container, patience: Sequence[float]) -> None:
    objects, origins = container.object_store(), container.settings().http.cors.origins
    for seconds in (*patience, None):
        try:
            if await objects.make_bucket(origins):
                _log.info("made the bucket for files", origins=origins)
        except Unavailable as error:
            if seconds is None:
                _log.warning("there may be no bucket for files", reason=error.reason)
                return
            await asyncio.sleep(seconds)
        except Exception:  # noqa: BLE001 - no caller waits for this task, and the API serves without a bucket
            _log.exception("the bucket for files was not made")
            return
        else:
            return
