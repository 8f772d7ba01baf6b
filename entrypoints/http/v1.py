"""Version 1 of the API: every capability's routes under one prefix. A version 2 is a file beside this one."""

from collections.abc import Iterator

from fastapi import APIRouter

from entrypoints.http import identity, sessions

PREFIX = "/api/v1"
AUTH_PREFIX = f"{PREFIX}/auth/"


def routers(*, debug: bool) -> Iterator[APIRouter]:
    """Yield what is under `PREFIX`; what only debug environments have is not even there elsewhere."""
    yield identity.router
    yield sessions.router
    if debug:
        yield sessions.debug_router
