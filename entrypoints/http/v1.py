"""Version 1 of the API: the routes of every capability under one prefix. Version 2 would be a file beside this one."""

from collections.abc import Iterator

from fastapi import APIRouter

from entrypoints.http import access, audit_log, routes
from entrypoints.http.identity import account, users
from entrypoints.http.scheduling import periodic_tasks, scheduler
from entrypoints.http.sessions import devices, keys, log_in

PREFIX = "/api/v1"
AUTH_PREFIX = f"{PREFIX}/auth/"


def routers(*, debug: bool) -> Iterator[APIRouter]:
    """Yield the routers under `PREFIX`; debug routes exist in debug environments only."""
    yield log_in.router
    if debug:
        yield log_in.debug_router
    yield keys.router
    yield devices.router
    yield account.router
    yield users.router
    yield access.router
    yield routes.router
    yield audit_log.router
    yield periodic_tasks.router
    yield scheduler.router
