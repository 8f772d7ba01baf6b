"""What all contenders of row 1 share: the handler, the server, and how they say where they serve what."""

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import uvicorn
from pydantic import BaseModel
from starlette.types import ASGIApp

USERS = 64


class Line(BaseModel):
    """A line of the body."""

    id: int
    name: str
    amount: float
    tags: list[str]


class Page(BaseModel):
    """A body of about 1 KB."""

    total: int
    lines: list[Line]


PAGE = Page(
    total=10,
    lines=[
        Line(id=n, name=f"line number {n}", amount=n * 1.5, tags=["alpha", "beta"])
        for n in range(14)
    ],
)


async def show_page() -> Page:
    """Return the body from memory, as each contender does."""
    return PAGE


def get(path: str, **headers: str) -> str:
    """Return a request as it is sent, with the headers that clients have."""
    lines = {"Host": "127.0.0.1", "User-Agent": "bench/1", "Accept": "application/json", **headers}
    return f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"


class _Server(uvicorn.Server):
    ready = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self.ready, flush=True)  # noqa: T201 - the one who measures reads it


async def serve(
    app: ASGIApp, requests: Mapping[str, Sequence[str]], options: Mapping[str, Any] | None = None
) -> None:
    """Serve until a signal says stop; once ready, print the port and the requests as one line of JSON."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    given = {"http": "httptools", "log_config": None, "access_log": False} | dict(options or {})
    server = _Server(uvicorn.Config(app, **given | {"loop": "none"}))
    server.ready = json.dumps({"port": listening.getsockname()[1], "requests": requests})
    await server.serve(sockets=[listening])
