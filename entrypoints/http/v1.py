"""Version 1 of the API: the routes of every capability under one prefix. Version 2 would be a file beside this one."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI

from entrypoints.http import (
    access,
    audit_log,
    connections,
    files,
    permissions,
    rooms,
    sequences,
)
from entrypoints.http.identity import account, users
from entrypoints.http.scheduling import periodic_tasks, scheduler
from entrypoints.http.sessions import devices, keys, log_in

PREFIX = "/api/v1"
AUTH_PREFIX = f"{PREFIX}/auth/"
AVATAR_PATH = f"{AUTH_PREFIX}user/avatar"


@dataclass(frozen=True, slots=True)
class Tag:
    """A chapter of the API's documentation, and the routers whose routes are in it."""

    name: str
    description: str
    routers: Sequence[APIRouter]
    debug_routers: Sequence[APIRouter] = ()
    """These exist in debug environments only."""


TAGS = (
    Tag(
        "sessions",
        "Public keys, log-in, token refresh, log-out, devices.",
        [log_in.router, keys.router, devices.router],
        debug_routers=[log_in.debug_router],
    ),
    Tag("identity", "Users, accounts and passwords.", [account.router, users.router]),
    Tag("access", "Roles and their permissions.", [access.router, permissions.router]),
    Tag(
        "audit",
        "The audit log: what was done, by whom, and from which address.",
        [audit_log.router],
    ),
    Tag("rooms", "Rooms, their members, who is present, and messages.", [rooms.router]),
    Tag("realtime", "The open connections of Socket.IO.", [connections.router]),
    Tag(
        "scheduling",
        "Periodic tasks, their runs, and the scheduler.",
        [periodic_tasks.router, scheduler.router],
    ),
    Tag(
        "files",
        "Files, which clients upload to and download from an S3-compatible store.",
        [files.router],
    ),
    Tag("sequences", "Named counters: no two callers get the same number.", [sequences.router]),
)


def include_routers(app: FastAPI, *, debug: bool) -> None:
    """Add every route of version 1 to the application."""
    for tag in TAGS:
        for router in (*tag.routers, *(tag.debug_routers if debug else ())):
            # One level deep: FastAPI matches a request once more for each router inside a router.
            app.include_router(router, prefix=PREFIX, tags=[tag.name])
