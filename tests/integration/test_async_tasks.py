"""Async tasks in real workers: the prefork, threads and solo pools, on Redis."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
from celery import chain, chord, group
from celery.exceptions import (
    Reject,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
)
from celery.result import AsyncResult
from redis import Redis

from entrypoints.celery.asynchronous.loop import EventLoopEnded
from entrypoints.celery.typed import TypedTask
from tests.integration import async_tasks_app as tasks
from tests.support.servers import Servers, redis_urls

ROOT = Path(__file__).parents[2]

P = ParamSpec("P")
R = TypeVar("R")

WITHIN = 20
"""Seconds after which waiting is given up."""

POOLS = {
    "prefork": ("-P", "prefork", "-c", "1"),
    "threads": ("-P", "threads", "-c", "10"),
    "solo": ("-P", "solo", "--soft-time-limit", "1"),
}
in_every_pool = pytest.mark.parametrize("pool", POOLS)


class Worker:
    """A worker in a process of its own, and what it has said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._over = False
        threading.Thread(target=self._listen, daemon=True).start()

    def says(self, *texts: str) -> bool:
        """Wait until the worker has said all this; tell whether it has."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._has_said(texts), timeout=WITHIN)
            return self._has_said(texts)

    def stop(self) -> int:
        """Ask for a warm shutdown; return the exit code."""
        self.process.terminate()
        return self.process.wait(WITHIN)

    def _has_said(self, texts: tuple[str, ...]) -> bool:
        return all(any(text in line for line in self.lines) for text in texts)

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()


@contextmanager
def started(url: str, queue: str, *options: str, **environment: str) -> Iterator[Worker]:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    process = subprocess.Popen(  # noqa: S603  our own worker
        [
            *(sys.executable, "-m", "celery", "-A", tasks.__name__, "-b", url),
            *("--result-backend", url, "worker", "-l", "INFO", "-Q", queue, "-n", f"{queue}@test"),
            *(*quiet, *options),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},  # noqa: TID251  a child needs all of it
    )
    with process:
        worker = Worker(process)
        try:
            yield worker
        finally:
            try:
                worker.stop()
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            finally:
                sys.stdout.writelines(worker.lines)  # pytest shows it if the test fails


class Workers:
    """Workers by their pool, each with a queue of that name, started when the first test asks."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._url = url
        self._stack = stack
        self._workers: dict[str, Worker] = {}

    def __getitem__(self, pool: str) -> Worker:
        if pool not in self._workers:
            worker = self._stack.enter_context(started(self._url, pool, *POOLS[pool]))
            assert worker.says("ready.")
            self._workers[pool] = worker
        return self._workers[pool]

    def run(self, pool: str, task: TypedTask[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Publish a message to a pool, wait, and return the result."""
        return self.publish(pool, task, *args, **kwargs).get(timeout=WITHIN)

    def publish(
        self, pool: str, task: TypedTask[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncResult[R]:
        assert self[pool].process.poll() is None
        return task.options(queue=pool).delay(*args, **kwargs)


@pytest.fixture(scope="module")
def url(servers: Servers, worker: int) -> str:
    """Return a Redis database that lives as long as the workers."""
    _, url = redis_urls(servers, worker)
    tasks.app.conf.update(broker_url=url, result_backend=url)
    return url


@pytest.fixture(scope="module")
def redis(url: str) -> Iterator[Redis]:
    with Redis.from_url(url, decode_responses=True, socket_timeout=2 * WITHIN) as redis:
        redis.flushdb()
        yield redis


@pytest.fixture(scope="module")
def workers(url: str, redis: Redis) -> Iterator[Workers]:
    with ExitStack() as stack:
        yield Workers(url, stack)


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """Return a key of Redis under which tasks note what they do."""
    return f"notes:{request.node.name}"


def take(redis: Redis, key: str) -> str:
    """Wait for the next note and take it."""
    note: Any = redis.blpop([key], timeout=WITHIN)
    assert note, f"nothing more under {key}"
    return str(note[1])


# --- contexts ---


@in_every_pool
def test_each_task_of_many_at_once_sees_its_own_request_and_context(
    workers: Workers, pool: str
) -> None:
    results = {
        n: workers.publish(pool, tasks.describe, request_id_to_set=f"r-{n}") for n in range(10)
    }

    for n, result in results.items():
        own = [result.id, result.id, f"r-{n}"]
        assert result.get(timeout=WITHIN) == {
            "itself": own,
            "gathered": own,
            "in a thread": own,
        }


@in_every_pool
def test_a_process_has_one_loop_in_one_thread(workers: Workers, pool: str) -> None:
    results = [workers.publish(pool, tasks.where) for _ in range(10)]

    assert len({tuple(result.get(timeout=WITHIN).values()) for result in results}) == 1


# --- outcomes ---


@in_every_pool
def test_models_are_validated_and_dumped(workers: Workers, pool: str) -> None:
    assert workers.run(pool, tasks.move, tasks.Point(x=1)) == {"x": 2}


@in_every_pool
def test_retry_and_autoretry_retry(workers: Workers, pool: str) -> None:
    assert workers.run(pool, tasks.retry_twice) == 2
    assert workers.run(pool, tasks.fail_twice) == 2


@in_every_pool
def test_ignored_and_rejected_messages_are_acknowledged(workers: Workers, pool: str) -> None:
    ignored = workers.publish(pool, tasks.ignore)
    assert workers[pool].says(f"ignore[{ignored.id}] ignored")

    with pytest.raises(Reject):
        workers.run(pool, tasks.reject)


@in_every_pool
def test_errors_keep_their_type_and_traceback(workers: Workers, pool: str) -> None:
    result = workers.publish(pool, tasks.fail, "plain")

    with pytest.raises(ValueError, match="no"):
        result.get(timeout=WITHIN)
    assert "await _deep_inside(errors[kind])" in str(result.traceback)


@in_every_pool
def test_errors_that_cannot_be_pickled_are_failures_too(workers: Workers, pool: str) -> None:
    result = workers.publish(pool, tasks.fail, "rich")

    error = result.get(timeout=WITHIN, propagate=False)

    assert result.state == "FAILURE"
    assert "NotEnough" in repr(error)


@in_every_pool
def test_a_rare_exception_fails_its_task_and_no_worker(workers: Workers, pool: str) -> None:
    results = {
        (task.name, odd): workers.publish(pool, task, odd)
        for task in (tasks.raise_oddly, tasks.raise_oddly_later)
        for odd in tasks.ODD
    }

    for raised, result in results.items():
        result.get(timeout=WITHIN, propagate=False)
        assert result.state == "FAILURE", raised
    assert workers.run(pool, tasks.ping) == "pong"


@in_every_pool
def test_chains_groups_and_chords_are_made_of_async_tasks(workers: Workers, pool: str) -> None:
    workers[pool]
    adds = [tasks.add.s(n, n).set(queue=pool) for n in range(5)]

    assert chain(adds[1], tasks.add.s(10).set(queue=pool)).delay().get(timeout=WITHIN) == 12
    assert group(adds).delay().get(timeout=WITHIN) == [0, 2, 4, 6, 8]
    assert chord(adds)(tasks.total.s().set(queue=pool)).get(timeout=WITHIN) == 20


def test_a_task_waits_for_another_without_blocking_the_loop(workers: Workers) -> None:
    workers["threads"]
    results = [workers.publish("prefork", tasks.publish_and_wait, 1, "threads") for _ in range(2)]

    assert [result.get(timeout=WITHIN) for result in results] == [2, 2]


@in_every_pool
def test_a_crash_of_the_loop_is_reported_and_the_worker_works_on(
    workers: Workers, pool: str
) -> None:
    with pytest.raises(EventLoopEnded, match="crashed while"):
        workers.run(pool, tasks.crash_the_loop)

    assert workers[pool].says("the event loop of async tasks crashed")
    assert workers.run(pool, tasks.ping) == "pong"


# --- limits and revoking ---


@in_every_pool
def test_a_soft_time_limit_is_raised_inside_and_the_process_lives_on(
    workers: Workers, redis: Redis, pool: str, key: str
) -> None:
    workers[pool]

    failed = tasks.work_until_stopped.options(queue=pool, soft_time_limit=0.3).delay(key)
    assert take(redis, key) == "begun"
    pid = take(redis, key)
    assert [take(redis, key), take(redis, key)] == ["except", "finally"]
    with pytest.raises(SoftTimeLimitExceeded):
        failed.get(timeout=WITHIN)

    tidy = tasks.clean_up_on_request.options(queue=pool, soft_time_limit=0.3).delay(key)
    assert tidy.get(timeout=WITHIN) == "tidy"
    assert str(workers.run(pool, tasks.where)["pid"]) == pid


def test_a_soft_time_limit_of_the_worker_is_kept_where_celery_keeps_none(
    workers: Workers, key: str
) -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        workers.run("solo", tasks.work_until_stopped, key)


def test_a_hard_time_limit_kills_the_process_of_a_prefork_pool(
    workers: Workers, redis: Redis, key: str
) -> None:
    workers["prefork"]

    result = tasks.work_for.options(queue="prefork", time_limit=0.5).delay(60, key)

    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=WITHIN)
    assert workers.run("prefork", tasks.ping) == "pong"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_revoking_interrupts_a_running_coroutine_and_the_process_lives_on(
    workers: Workers, redis: Redis, pool: str, key: str
) -> None:
    result = workers.publish(pool, tasks.work_until_stopped, key)
    assert take(redis, key) == "begun"
    pid = take(redis, key)

    tasks.app.control.revoke(result.id, terminate=True, signal="SIGUSR1")

    assert [take(redis, key), take(redis, key)] == ["except", "finally"]
    assert str(workers.run(pool, tasks.where)["pid"]) == pid


def test_a_process_that_is_terminated_cancels_its_coroutine_first(
    workers: Workers, redis: Redis, key: str
) -> None:
    result = workers.publish("prefork", tasks.work_until_stopped, key)
    assert [take(redis, key), take(redis, key).isdigit()] == ["begun", True]

    tasks.app.control.revoke(result.id, terminate=True)

    assert take(redis, key) == "finally"
    with pytest.raises(TaskRevokedError):
        result.get(timeout=WITHIN)
    assert workers.run("prefork", tasks.ping) == "pong"


# --- resources ---


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_pool_of_connections_serves_a_thousand_tasks(
    workers: Workers, redis: Redis, migrated_url: str, pool: str
) -> None:
    redis.set("postgres-url", migrated_url)
    workers[pool]

    queries = group(tasks.query.s(n).set(queue=pool) for n in range(1000))
    answers = queries.delay().get(timeout=WITHIN)

    assert [number for number, _, _, _ in answers] == [*range(1000)]
    assert len({backend for _, backend, _, _ in answers}) <= 3
    assert len({(pid, loop) for _, _, pid, loop in answers}) == 1


def lifecycle(redis: Redis) -> dict[str, list[str]]:
    """Return what each process opened and closed."""
    steps = defaultdict(list)
    lines: Any = redis.lrange("lifecycle", 0, -1)
    for line in lines:
        step, _, pid = line.rpartition(" ")
        steps[pid].append(step)
    return steps


WHOLE_LIFE = ["open journal", "open database", "close database", "close journal"]


def test_recycled_processes_close_what_they_opened_and_a_warm_shutdown_lets_a_task_end(
    url: str, redis: Redis, migrated_url: str, key: str
) -> None:
    redis.set("postgres-url", migrated_url)

    with started(url, "recycled", "-c", "1", "--max-tasks-per-child", "2") as worker:
        queries = [tasks.query.options(queue="recycled").delay(n) for n in range(3)]
        pids = [str(result.get(timeout=WITHIN)[2]) for result in queries]
        result = tasks.work_for.options(queue="recycled").delay(0.5, key)
        assert take(redis, key) == "begun"
        assert worker.stop() == 0

    assert result.get(timeout=WITHIN) == "done"
    first, _, second = pids
    assert pids == [first, first, second]
    assert first != second
    assert lifecycle(redis)[first] == lifecycle(redis)[second] == WHOLE_LIFE


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_a_warm_shutdown_lets_a_task_end_and_closes_what_is_open(
    url: str, redis: Redis, migrated_url: str, pool: str, key: str
) -> None:
    redis.set("postgres-url", migrated_url)
    queue = f"stopped-{pool}"

    with started(url, queue, *POOLS[pool]) as worker:
        pid = str(tasks.query.options(queue=queue).delay(1).get(timeout=WITHIN)[2])
        result = tasks.work_for.options(queue=queue).delay(0.5, key)
        assert take(redis, key) == "begun"
        assert worker.stop() == 0

    assert result.get(timeout=WITHIN) == "done"
    assert lifecycle(redis)[pid] == WHOLE_LIFE


def test_processes_may_be_spawned(url: str, redis: Redis, migrated_url: str) -> None:
    redis.set("postgres-url", migrated_url)

    with started(url, "spawned", "-c", "1", "--pool-start-method", "spawn") as worker:
        answers = [tasks.query.options(queue="spawned").delay(n) for n in range(3)]
        pids = {str(answer.get(timeout=WITHIN)[2]) for answer in answers}
        assert tasks.move.options(queue="spawned").delay(tasks.Point(x=1)).get(timeout=WITHIN)
        assert worker.stop() == 0

    assert [lifecycle(redis)[pid] for pid in pids] == [WHOLE_LIFE]


# --- what is refused ---


def test_pools_of_greenlets_are_refused(url: str) -> None:
    pool = f"{tasks.__name__}:GreenPool"

    with started(url, "green", "-P", "custom", CELERY_CUSTOM_WORKER_POOL=pool) as worker:
        assert worker.says("use -P prefork, threads or solo")
        assert worker.process.wait(WITHIN) != 0


def test_other_stacks_than_the_default_are_refused() -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import entrypoints.celery.typed"],
        cwd=ROOT,
        env={**os.environ, "USE_FAST_LOCALS": "1"},  # noqa: TID251  a child needs all of it
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )

    assert "remove USE_FAST_LOCALS from the environment" in imported.stderr


def test_a_worker_that_stops_finishes_short_tasks_and_hands_back_long_ones(
    url: str, redis: Redis, key: str
) -> None:
    """The next worker runs them, and the first one does not wait when nothing runs any more."""
    long, short = (
        tasks.take_long.options(queue="stops").delay(f"{key}:{seconds}", seconds=seconds)
        for seconds in (60, 1)
    )
    options = ("-P", "prefork", "-c", "2")
    with started(url, "stops", *options, STOP_WITHIN="2") as first:
        for seconds in (60, 1):
            assert redis.blmove(f"{key}:{seconds}", f"{key}:{seconds}", WITHIN)
        assert first.stop() == 0
    assert short.get(timeout=WITHIN) == "at once"
    assert not long.ready()

    with started(url, "stops", *options, STOP_WITHIN="60") as second:
        assert long.get(timeout=WITHIN) == "again"
        assert second.stop() == 0
