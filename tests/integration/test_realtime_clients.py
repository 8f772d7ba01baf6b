"""The clients of docs/realtime.md, in Python and in JavaScript, as their readers run them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from application.use_cases.caller import Caller
from domain.rooms import Room
from entrypoints.api import create_api
from tests.support.builders import a_room, a_user
from tests.support.http_server import serving
from tests.support.javascript import NODE, packages
from tests.support.readme import ROOT, blocks, documented
from tests.support.waiting import until
from tests.support.world import World

PAGE = ROOT / "docs" / "realtime.md"

DRIVER = """
import { createInterface } from "node:readline";
import { Room } from "./chat_client.mjs";

const [address, room, token] = process.argv.slice(2);
const print = ({ seq, text }) => console.log(JSON.stringify([seq, text]));
const chat = new Room(address, room, async () => token, print);
for await (const line of createInterface({ input: process.stdin })) await chat.send(line);
process.exit();
"""


@pytest.fixture
def scripts(pytestconfig: pytest.Config) -> Path:
    folder = packages(Path(__file__).with_name("javascript"), pytestconfig)
    [client] = blocks("js", PAGE.read_text())
    (folder / "chat_client.mjs").write_text(client)
    (folder / "driver.mjs").write_text(DRIVER)
    return folder


@asynccontextmanager
async def in_javascript(
    scripts: Path, address: str, room: Room, token: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the client in Node.js: it prints what it receives, and sends each line that it is given."""
    process = await asyncio.create_subprocess_exec(
        *(NODE, "driver.mjs", address, str(room.id), token),
        cwd=scripts,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def next_line(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return json.loads(await process.stdout.readline())


async def next_message(room: Any) -> list[Any]:
    async with asyncio.timeout(20):
        message = await room.messages.get()
    return [message["seq"], message["text"]]


async def end_all(world: World, caller: Caller) -> None:
    """End all connections, and wait until they are gone."""
    for connection in await world.container.list_connections()(limit=10):
        await world.container.end_connection()(caller, connection.id)

    async def are_gone() -> bool:
        return not await world.container.list_connections()(limit=10)

    await until(are_gone)


async def test_both_clients_talk_and_miss_nothing_when_they_are_disconnected(
    world: World, scripts: Path
) -> None:
    ada, tokens = await world.log_in_as(await world.given(a_user(is_admin=True)))
    lobby = await world.given_room(a_room())
    api = create_api(container=world.container)

    async def token() -> str:
        return tokens.access_token

    async with serving(api, world.container.settings()) as port:
        address = f"http://127.0.0.1:{port}"
        python = documented(PAGE, "chat_client.py")["Room"](address, str(lobby.id), token)
        running = asyncio.create_task(python.run())
        async with in_javascript(scripts, address, lobby, tokens.access_token) as javascript:
            assert javascript.stdin is not None
            await python.send("from Python")
            assert await next_line(javascript) == [1, "from Python"]
            assert await next_message(python) == [1, "from Python"]
            javascript.stdin.write(b"from JavaScript\n")
            assert await next_message(python) == [2, "from JavaScript"]
            assert await next_line(javascript) == [2, "from JavaScript"]

            await end_all(world, ada)
            await world.container.send_message()(ada, lobby.id, "while they were away")
            assert await next_message(python) == [3, "while they were away"]
            assert await next_line(javascript) == [3, "while they were away"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
