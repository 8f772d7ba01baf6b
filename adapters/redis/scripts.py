"""Lua scripts: each runs as one atomic step of the server, and what it is given and gives back."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, cast

from redis.exceptions import NoScriptError

from adapters.redis.client import Command, RedisServers, script_names
from domain.instants import from_microseconds, to_microseconds

_MICROSECOND = timedelta(microseconds=1)


class Script:
    """The `.lua` files of this package named by `parts`, joined: shared functions first, then what to do.

    With `held` it runs over the connection that the client keeps, which is for scripts that may run twice.
    """

    def __init__(self, client: RedisServers, *parts: str, held: bool = False) -> None:
        package = files("adapters.redis")
        self._text = "\n".join(package.joinpath(f"{part}.lua").read_text("utf-8") for part in parts)
        # The name under which the server caches a script; no secret depends on it.
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()
        script_names[self._sha] = parts[-1]
        self._execute: Callable[..., Awaitable[object]] = (
            client.execute_held if held else client.execute
        )

    def command(self, keys: list[str], *args: str | int) -> Command:
        """Return the command that runs the script, for a server that knows it."""
        return ("EVALSHA", self._sha, len(keys), *keys, *args)

    async def __call__(self, keys: list[str], *args: str | int) -> list[Any]:
        """Run the script; every one of them answers with an array."""
        operands = (len(keys), *keys, *args)
        try:
            reply = await self._execute(*self.command(keys, *args))
        except NoScriptError:
            # A server that restarted, or another node. Nothing was run, and EVAL caches it again.
            reply = await self._execute("EVAL", self._text, *operands)
        return cast("list[Any]", reply)


def microseconds(time: datetime | timedelta) -> int:
    """Return an instant (since 1970) or a duration as scripts take it.

    Microseconds are what `datetime` resolves, so nothing is lost, and a Lua number holds them exactly until 2255.
    """
    return to_microseconds(time) if isinstance(time, datetime) else time // _MICROSECOND


def instant(microseconds: str | int) -> datetime:
    """Return the instant that many microseconds after 1970."""
    return from_microseconds(int(microseconds))


def duration(microseconds: str | int) -> timedelta:
    """Return a duration of that many microseconds."""
    return int(microseconds) * _MICROSECOND
