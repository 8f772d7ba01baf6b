"""Rows 8 to 12: our beat beside the best that others have published, at two sizes.

Row 8 is the CPU of a second of the whole idle process: a tick of ours is but a wait.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping

from benchmarks.report import Figure
from benchmarks.servers import Servers

SIZES = (10_000, 100_000)
_OURS = "portico"
_PEERS = {"django_beat": "django-celery-beat", "sqlalchemy_beat": "sqlalchemy-celery-beat"}

Answer = Mapping[str, float]


async def measure(servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figures; all contenders run one after the other, each alone."""
    answers: dict[int, dict[str, Answer]] = {}
    for size in SIZES:
        answers[size] = {}
        for name in (*_PEERS, _OURS):
            say(f"beat: {name} with {size:,} tasks")
            # A round of a peer takes half a minute, and rounds agree.
            few = 1 if name in _PEERS else min(rounds, 3)
            answers[size][name] = await _ask(servers, name, size, few)
    figures = [figure for size in SIZES for figure in _figures(size, answers[size])]
    small, large = (answers[size][_OURS]["idle_cpu"] for size in SIZES)
    figures.append(
        Figure(
            row=8,
            what="beat, CPU of an idle second, 100,000 tasks to 10,000",
            unit="times",
            ours=large / small,
            target=1.5,
        )
    )
    return sorted(figures, key=lambda figure: figure.row)


def _figures(size: int, answers: Mapping[str, Answer]) -> list[Figure]:
    def figure(
        row: int,
        what: str,
        unit: str,
        field: str,
        *,
        target: float,
        ratio: float | None,
        scale: float = 1,
    ) -> Figure:
        best = min(_PEERS, key=lambda name: answers[name][field])
        lost = field.startswith("lateness") and answers[best]["published"] < 1000  # noqa: PLR2004
        return Figure(
            row=row,
            what=f"beat, {size:,} tasks: {what}",
            unit=unit,
            ours=answers[_OURS][field] * scale,
            reference=answers[best][field] * scale,
            reference_name=_PEERS[best],
            at_least=lost,
            target=target,
            ratio_target=ratio,
            size=size,
        )

    # A peer looks at each task whenever it wakes up, every five seconds; ours is woken by the database.
    idle = 4 if size == SIZES[0] else 40
    return [
        figure(8, "CPU of an idle second", "ms", "idle_cpu", target=2, ratio=idle, scale=1000),
        figure(9, "refresh after one change", "ms", "refresh_one", target=5, ratio=100, scale=1000),
        figure(
            10, "start to ready", "s", "start", target=0.5 if size == SIZES[0] else 3.5, ratio=3
        ),
        figure(11, "1,000 due at once, p99 late", "s", "lateness_p99", target=0.6, ratio=20),
        figure(
            12, "SQL statements per 1,000 runs", "", "statements_per_1000", target=6, ratio=None
        ),
        Figure(
            row=16,
            what=f"beat, {size:,} tasks: largest resident memory, all of the above done",
            unit="MB",
            ours=answers[_OURS]["resident_mb"],
            reference=min(answers[name]["resident_mb"] for name in _PEERS),
            reference_name="the better of both",
            size=size,
        ),
    ]


async def _ask(servers: Servers, name: str, size: int, rounds: int) -> Answer:
    order = {
        "tasks": size,
        "rounds": rounds,
        "postgres": await servers.new_database(f"bench_{name}"),
        "broker": servers.redis_database(5),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"benchmarks.contenders.{name}",
        json.dumps(order),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name} failed with exit code {process.returncode}")
    answer: Answer = json.loads(output.splitlines()[-1])
    return answer
