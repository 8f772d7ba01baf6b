"""Ours with its first administrator. It answers each line of its input with how many tasks its loop has."""

import asyncio
import json
import sys
import threading
from collections import Counter
from dataclasses import replace

import uvloop

import bootstrap
from application.settings import Environment
from benchmarks.contenders.http import serve
from entrypoints.api import create_api
from entrypoints.cli.api import options


def _answer(loop: asyncio.AbstractEventLoop) -> None:
    for _ in sys.stdin:
        counted = asyncio.run_coroutine_threadsafe(_count(), loop)
        names = Counter(each.name.rstrip("0123456789") for each in threading.enumerate())
        held = {"tasks": counted.result(), "names": names}
        print(json.dumps(held), flush=True)  # noqa: T201 - the one who measures reads it


async def _count() -> int:
    return len(asyncio.all_tasks())


async def _main() -> None:
    settings = bootstrap.load_settings()
    bootstrap.configure_logging(replace(settings, environment=Environment.PRODUCTION))
    container = bootstrap.build(settings)
    await container.schema().upgrade()
    await container.create_first_administrator()(settings.first_administrator)
    api = create_api(container=container)
    api.http.state.owns_process = True
    loop = asyncio.get_running_loop()
    threading.Thread(target=_answer, args=(loop,), daemon=True).start()
    await serve(api, {}, options(settings))


if __name__ == "__main__":
    uvloop.run(_main())
