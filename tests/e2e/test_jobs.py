"""Periodic tasks as their users have them: made over HTTP, published by a beat, run by a worker, looked at again."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.command import Started, addresses, environment, portico, starting
from tests.e2e.job_tasks import ODD
from tests.e2e.jobs import EACH_SECOND, TASKS, Portico, lines, portico_running, settings_of
from tests.support.processes import kill_all
from tests.support.servers import Servers
from tests.support.sockets import Received, connected
from tests.support.waiting import wait_until

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def variables(servers: Servers, worker: int) -> dict[str, str]:
    return settings_of(servers, "jobs", worker)


@pytest.fixture(scope="module")
def jobs(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portico]:
    with portico_running(tmp_path_factory.mktemp("jobs"), variables) as jobs:
        yield jobs


def gaps(runs: list[dict[str, Any]]) -> set[timedelta]:
    """Return the times between the slots of runs, which are listed newest first."""
    slots = [datetime.fromisoformat(run["scheduledFor"]) for run in reversed(runs)]
    return {later - earlier for earlier, later in pairwise(slots)}


# --- metrics ------------------------------------------------------------------------------------


def metrics_of(jobs: Portico) -> dict[str, float]:
    """Return what the worker and the beat tell a scrape, which they answer at most 5 s late."""
    found: dict[str, float] = {}
    for url in set(re.findall(r"metrics at (http://\S+)", jobs.stack.said())):
        with suppress(httpx.ConnectError):  # of one that was restarted
            for line in httpx.get(url).raise_for_status().text.splitlines():
                name, _, value = line.rpartition(" ")
                found[name] = float(value) if not line.startswith("#") else 0
    return found


def test_worker_and_beat_tell_what_they_do(jobs: Portico, tmp_path: Path) -> None:
    """Also what processes of the pool have counted that were killed since, and the tasks that were killed with them."""
    note = jobs.make(args=[str(tmp_path / "lines")])
    wait_until(lambda: len(jobs.ended(note)) >= 2)
    jobs.change(note, enabled=False)
    late = {"expires": 60}  # rather than with the next slot
    die = jobs.make(task="test.die", maxRuns=2, options=late)
    hang = jobs.make(task="test.hang", maxRuns=1, options=late)
    wait_until(lambda: len(jobs.ended(die)) == 2 and jobs.ended(hang))
    done = len(jobs.ended(note))

    def all_counted() -> bool:
        now = metrics_of(jobs)
        killed = [
            now.get(f'portico_tasks_total{{outcome="failure",task="{task}"}}', 0)
            for task in ("test.die", "test.hang")
        ]
        succeeded = now['portico_tasks_total{outcome="success",task="test.note"}']
        return succeeded >= done and killed[0] >= 2 and killed[1] >= 1

    wait_until(all_counted)
    now = metrics_of(jobs)
    assert now['portico_task_duration_seconds_count{task="test.note"}'] >= done
    assert now['portico_task_duration_seconds_sum{task="test.hang"}'] >= 1
    assert now["portico_task_wait_seconds_count"] >= done
    assert now['portico_queue_length{queue="portico"}'] >= 0
    assert now["portico_beat_leader"] == 1
    assert now["portico_beat_periodic_tasks"] >= 2
    for task in (note, die, hang):
        jobs.http.delete(task)


# --- made, changed, removed ---------------------------------------------------------------------


def test_a_task_that_is_made_runs_on_time_without_a_restart(jobs: Portico, tmp_path: Path) -> None:
    """Each second once, in the second it is for, and no second is left out; nothing is left once it is deleted."""
    file = tmp_path / "lines"
    task = jobs.make(args=[str(file)], kwargs={"text": "once"})

    wait_until(lambda: len(jobs.ended(task)) >= 4)
    jobs.change(task, enabled=False)
    time.sleep(1)  # the beat learns of it
    wait_until(lambda: len(jobs.ended(task)) == len(jobs.runs(task)))
    runs = jobs.ended(task)

    assert all(run["state"] == "succeeded" and 0 <= run["lateness"] < 1 for run in runs)
    assert gaps(runs) == {timedelta(seconds=1)}
    assert lines(file) == ["once"] * len(runs)

    jobs.http.delete(task)
    assert jobs.http.get(task).status_code == 404
    assert jobs.http.get(f"{task}/runs").status_code == 404


def test_runs_come_in_their_second_and_none_is_left_out(jobs: Portico, tmp_path: Path) -> None:
    task = jobs.make(args=[str(tmp_path / "lines")])

    wait_until(lambda: len(jobs.ended(task)) >= 5)
    runs = jobs.ended(task)

    assert gaps(runs) == {timedelta(seconds=1)}
    assert all(0 <= run["lateness"] < 1 for run in runs)
    assert len(lines(tmp_path / "lines")) >= len(runs)
    jobs.http.delete(task)


def test_a_change_is_in_force_without_a_restart(jobs: Portico, tmp_path: Path) -> None:
    """Edited, paused, resumed, removed."""
    first, second = tmp_path / "first", tmp_path / "second"
    task = jobs.make(args=[str(first)])
    wait_until(lambda: lines(first))

    jobs.change(task, args=[str(second)])
    wait_until(lambda: lines(second))
    jobs.change(task, enabled=False)
    time.sleep(1)
    paused = len(lines(second))
    time.sleep(2)
    assert len(lines(second)) == paused

    jobs.change(task, enabled=True)
    wait_until(lambda: len(lines(second)) > paused)
    jobs.http.delete(task)
    time.sleep(1)
    removed = len(lines(second))
    time.sleep(2)
    assert len(lines(second)) == removed
    assert jobs.http.get(task).status_code == 404


async def test_a_task_notifies_a_user_who_is_connected(jobs: Portico) -> None:
    user = jobs.data(jobs.http.get("/api/v1/auth/user/info"))
    task = jobs.make(task="test.notify", args=[user["id"]], enabled=False)
    token = jobs.http.headers["Authorization"].removeprefix("Bearer ")

    async with connected(jobs.stack.block["API"], auth={"token": token}) as client:
        notifications = Received(client, "notification")
        jobs.data(jobs.http.post(f"{task}/run"))
        assert await notifications.next() == {"kind": "test.notified", "number": 7}
    jobs.http.delete(task)


def test_a_run_that_is_asked_for_happens_even_while_the_task_is_paused(
    jobs: Portico, tmp_path: Path
) -> None:
    file = tmp_path / "lines"
    task = jobs.make(args=[str(file)], enabled=False)

    asked = jobs.data(jobs.http.post(f"{task}/run"))
    (run,) = wait_until(lambda: jobs.ended(task))

    assert (run["id"], run["state"], run["requested"]) == (asked["id"], "succeeded", True)
    assert lines(file) == [""]


# --- history ------------------------------------------------------------------------------------


def test_the_history_says_who_ran_it_how_late_it_was_and_what_went_wrong(jobs: Portico) -> None:
    task = jobs.make(task="test.fail", args=["no such report"], maxRuns=1)

    (run,) = wait_until(lambda: jobs.ended(task))

    assert (run["state"], run["error"]) == ("failed", "ValueError: no such report")
    assert run["worker"].startswith("celery@")
    assert 0 <= run["lateness"] < 1
    published, started, finished = (
        datetime.fromisoformat(run[field]) for field in ("publishedAt", "startedAt", "finishedAt")
    )
    assert published - timedelta(seconds=0.1) <= started <= finished
    assert jobs.data(jobs.http.get(task))["nextRunAt"] is None


def test_a_run_whose_process_died_has_failed(jobs: Portico) -> None:
    task = jobs.make(task="test.die", maxRuns=1)

    (run,) = wait_until(lambda: jobs.ended(task))

    assert run["state"] == "failed"
    assert run["error"].startswith("WorkerLostError")


def test_a_run_whose_message_comes_back_has_not_ended_with_its_process(
    jobs: Portico, tmp_path: Path
) -> None:
    """It had begun in time: that its message has expired meanwhile makes no difference."""
    task = jobs.make(task="test.die_once", args=[str(tmp_path / "died")], maxRuns=1)

    (run,) = wait_until(lambda: jobs.ended(task))

    assert (run["state"], run["error"]) == ("succeeded", "")


def test_a_run_that_is_tried_again_has_not_expired(jobs: Portico) -> None:
    task = jobs.make(task="test.try_again", args=[1.5], maxRuns=1)

    (run,) = wait_until(lambda: jobs.ended(task))

    assert (run["state"], run["error"]) == ("succeeded", "")
    assert datetime.fromisoformat(run["startedAt"]) > datetime.fromisoformat(
        run["scheduledFor"]
    ) + timedelta(seconds=1)


def test_a_run_whose_second_attempt_expires_has_failed(jobs: Portico) -> None:
    """Because its task says so; what the schedule says is about the first."""
    task = jobs.make(task="test.try_again", args=[1.5, 1], maxRuns=1)

    (run,) = wait_until(lambda: jobs.ended(task))

    assert (run["state"], run["error"]) == ("failed", "TaskRevokedError: expired")


def test_a_run_that_is_revoked_while_it_waits_has_failed(jobs: Portico, tmp_path: Path) -> None:
    """By an operator, with Celery's remote control."""
    task = jobs.make(task="test.try_again", args=[12], maxRuns=1)
    (run,) = wait_until(lambda: [run for run in jobs.runs(task) if run["startedAt"]])

    jobs.python(f"app.control.revoke({run['id']!r})", tmp_path)
    (run,) = wait_until(lambda: jobs.ended(task))

    assert (run["state"], run["error"]) == ("failed", "TaskRevokedError: revoked")


def test_a_run_that_exceeds_its_time_limit_has_failed(jobs: Portico) -> None:
    task = jobs.make(task="test.hang", maxRuns=1)

    (run,) = wait_until(lambda: jobs.ended(task))

    assert run["state"] == "failed"
    assert run["error"].startswith("TimeLimitExceeded")


@pytest.mark.parametrize("name", ["test.raise_oddly", "test.raise_oddly_later"])
def test_a_run_that_raises_anything_has_failed(jobs: Portico, name: str) -> None:
    """Also when its process ends with it."""
    tasks = {
        odd: jobs.make(task=name, args=[odd], maxRuns=1, options={"expires": 60}) for odd in ODD
    }

    for odd, task in tasks.items():
        (run,) = wait_until(partial(jobs.ended, task))
        assert run["state"] == "failed"
        assert odd in run["error"]


@contextmanager
def another_worker(
    jobs: Portico, queue: str, *options: str, directory: Path, **variables: str
) -> Iterator[Started]:
    """Start a worker of Celery's own command beside that of the stack."""
    command = ("-A", "entrypoints.celery.app", "worker", "-Q", queue, "-n", f"{queue}@%h")
    celery = str(Path(sys.executable).with_name("celery"))
    with starting(
        *(*command, *options),
        program=celery,
        directory=directory,
        **{**jobs.variables, **variables},
    ) as worker:
        worker.wait_until(lambda: "ready." in worker.said())
        yield worker


def test_processes_that_are_recycled_lose_no_end(jobs: Portico, tmp_path: Path) -> None:
    """Nor does a worker that is stopped as soon as its last task has ended."""
    options = {"queue": "recycled", "expires": 60}
    recycling = ("--max-tasks-per-child", "1", "-c", "4")
    with another_worker(jobs, "recycled", *recycling, directory=tmp_path) as worker:
        task = jobs.make(
            args=[str(tmp_path / "lines")],
            schedule={"every": 100, "period": "milliseconds"},
            maxRuns=16,
            options=options,
        )
        wait_until(lambda: len(lines(tmp_path / "lines")) == 16)
        assert worker.stop(signal.SIGTERM) == 0

    assert [run["state"] for run in jobs.runs(task)] == ["succeeded"] * 16


def test_a_run_whose_whole_worker_was_killed_has_failed_when_its_time_is_up(
    jobs: Portico, tmp_path: Path
) -> None:
    options = {"queue": "killed", "expires": 60, "timeLimit": 3}
    with another_worker(jobs, "killed", "-c", "1", directory=tmp_path) as worker:
        task = jobs.make(task="test.hang", maxRuns=1, options=options)
        wait_until(lambda: [run for run in jobs.runs(task) if run["startedAt"]])
        kill_all(worker.family())

    (run,) = wait_until(lambda: [run for run in jobs.runs(task) if run["state"] == "failed"])
    assert run["error"].startswith("its time was up")
    assert run["finishedAt"] is None


def test_a_run_ends_though_its_result_cannot_be_stored(jobs: Portico, tmp_path: Path) -> None:
    away = {"PORTICO_RESULT_URL": "redis://127.0.0.1:1"}
    file, options = tmp_path / "lines", {"queue": "resultless", "expires": 60}
    with another_worker(jobs, "resultless", "-c", "2", directory=tmp_path, **away):
        well = jobs.make(args=[str(file)], maxRuns=1, options=options)
        badly = jobs.make(task="test.fail", args=["no"], maxRuns=1, options=options)
        (stored,) = wait_until(partial(jobs.ended, well))
        (failed,) = wait_until(partial(jobs.ended, badly))

    assert lines(file) == [""]
    assert stored["state"] == failed["state"] == "failed"
    assert stored["error"].startswith("what it returned or raised could not be stored: ")


def test_a_run_whose_task_its_worker_does_not_know_has_failed(
    jobs: Portico, tmp_path: Path
) -> None:
    """The worker throws its message away, so no other worker will run it."""
    task = jobs.make(args=["x"], maxRuns=1, options={"queue": "of-nobody", "expires": 3600})
    (run,) = wait_until(lambda: [run for run in jobs.runs(task) if run["state"] == "published"])

    publish = f"""
headers = {{"periodic_task": {run["taskId"]!r}, "scheduled_for": {run["scheduledFor"]!r}}}
app.send_task("test.unknown", task_id={run["id"]!r}, headers=headers)
"""
    jobs.python(publish, tmp_path)

    (run,) = wait_until(lambda: jobs.ended(task))
    assert (run["state"], run["error"]) == ("failed", "NotRegistered: 'test.unknown'")


@pytest.mark.parametrize(
    ("name", "state", "error"),
    [("test.say_nothing", "succeeded", ""), ("test.give_up", "failed", "Reject")],
)
def test_a_run_without_a_result_has_ended_as_well(
    jobs: Portico, name: str, state: str, error: str
) -> None:
    task = jobs.make(task=name, maxRuns=1)

    (run,) = wait_until(lambda: jobs.ended(task))

    assert run["state"] == state
    assert run["error"].startswith(error)


def test_a_message_that_comes_twice_runs_once(jobs: Portico, tmp_path: Path) -> None:
    """As it does when a beat is killed after it has published, and before it has noted that."""
    file = tmp_path / "lines"
    task = jobs.make(args=[str(file)], enabled=False)
    jobs.http.post(f"{task}/run")
    (run,) = wait_until(lambda: jobs.ended(task))

    publish_again = f"""
headers = {{"periodic_task": {run["taskId"]!r}, "scheduled_for": {run["scheduledFor"]!r}}}
app.send_task("test.note", [{str(file)!r}], task_id={run["id"]!r}, headers=headers)
app.send_task("test.note", [{str(file)!r}, "another"])
"""
    jobs.python(publish_again, tmp_path)

    wait_until(lambda: "another" in lines(file))
    time.sleep(0.5)
    assert lines(file) == ["", "another"]


# --- what is known, and what is refused ---------------------------------------------------------


def offered(jobs: Portico) -> dict[str, Any]:
    """Return the tasks that workers that live offer, by name."""
    known = jobs.data(jobs.http.get("/api/v1/tasks"))
    return {task["name"]: task for task in known if task["isOffered"]}


def test_the_api_knows_the_tasks_of_the_workers(jobs: Portico) -> None:
    tasks = wait_until(lambda: offered(jobs))

    assert {"portico.prune_runs", "portico.deliver_audit", "test.note"} <= tasks.keys()
    assert tasks["test.note"]["description"] == "Add a line to a file."
    assert [
        (parameter["name"], parameter["required"], parameter["annotation"])
        for parameter in tasks["test.note"]["parameters"]
    ] == [("file", True, "str"), ("text", False, "str")]


def test_a_worker_with_other_tasks_hides_none_and_takes_its_own_with_it(
    jobs: Portico, tmp_path: Path
) -> None:
    variables = jobs.variables | {"PORTICO_TASK_MODULES": "tests.e2e.other_tasks"}
    worker = subprocess.Popen(  # noqa: S603 - ours
        [
            *(sys.executable, "-m", "celery", "-A", "entrypoints.celery.app", "worker"),
            *("--pool", "solo", "-Q", "other", "-n", "other@%h"),
        ],
        env=environment(tmp_path, **variables),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: {"other.nothing", "test.note"} <= offered(jobs).keys())
        jobs.make(task="other.nothing", enabled=False)
    finally:
        worker.terminate()
        worker.wait(timeout=30)

    wait_until(lambda: "other.nothing" not in offered(jobs))
    assert "test.note" in offered(jobs)


def test_a_task_that_no_worker_could_run_is_refused_over_the_wire(jobs: Portico) -> None:
    wait_until(lambda: offered(jobs))

    def refused(**fields: Any) -> list[list[str]]:
        body = {"name": "bad", "task": "test.note", "args": ["x"], **EACH_SECOND, **fields}
        response = jobs.http.post(TASKS, json=body)
        assert response.status_code == 422, response.text
        return [error["loc"] for error in response.json()["errors"]]

    assert refused(task="nobody.knows") == [["body", "task"]]
    assert refused(args=[]) == [["body", "kwargs"]]
    assert refused(kwargs={"colour": "blue"}) == [["body", "kwargs", "colour"]]
    assert refused(kwargs={"text": "\0"}) == [["body", "kwargs"]]
    assert refused(kind="crontab", schedule={"minute": "1,,2", "dayOfWeek": "x"}) == [
        ["body", "schedule", "minute"],
        ["body", "schedule", "dayOfWeek"],
    ]


def test_the_scheduler_says_who_leads(jobs: Portico) -> None:
    def leading() -> Any:
        status = jobs.data(jobs.http.get("/api/v1/scheduler"))
        return status["isLeading"] and status

    status = wait_until(leading)

    assert status["leader"]
    assert status["invalid"] == 0


# --- commands -----------------------------------------------------------------------------------


def test_checks_say_whether_a_worker_answers_and_a_beat_leads(
    jobs: Portico, tmp_path: Path
) -> None:
    for command in ("worker", "beat"):
        checked = portico(command, "--check", directory=tmp_path, **jobs.variables)
        assert checked.returncode == 0, checked.stderr


def test_a_check_without_a_database_does_not_wait_for_it(jobs: Portico, tmp_path: Path) -> None:
    away = {**jobs.variables, "PORTICO_POSTGRES_URL": "postgresql://portico@127.0.0.1:1/portico"}

    start = time.monotonic()
    checked = portico("beat", "--check", directory=tmp_path, **away)

    assert checked.returncode == 3
    assert "postgres" in checked.stderr
    assert time.monotonic() - start < 15


@contextmanager
def alone(*command: str, ready: str, directory: Path, **variables: str) -> Iterator[Started]:
    """Start one command, on servers of its own."""
    with starting(*command, directory=directory, **variables) as started:
        started.wait_until(lambda: ready in started.said())
        yield started


def test_a_worker_and_a_beat_end_cleanly_and_their_checks_notice(
    servers: Servers, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    variables = addresses(servers, PORTICO_POSTGRES_URL=postgres_url, PORTICO_REDIS_URL=redis_url)

    def check(*command: str) -> int:
        return portico(*command, "--check", directory=tmp_path, **variables).returncode

    second = ("worker", "--name", "second")
    with alone(*second, ready="ready.", directory=tmp_path, **variables) as worker:
        assert check(*second) == 0
        assert check("worker") == 1, "another one on the same host"
        assert worker.stop(signal.SIGTERM) == 0
        assert "Traceback" not in worker.said()
    with starting("beat", directory=tmp_path, **variables) as beat:
        wait_until(lambda: check("beat") == 0)
        assert beat.stop(signal.SIGTERM) == 0
        assert "Traceback" not in beat.said()
    assert check(*second) == 1
    assert check("beat") == 1


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_neither_starts_without_servers_or_migrations(
    servers: Servers, command: str, tmp_path: Path
) -> None:
    old = portico(command, directory=tmp_path, **addresses(servers))
    down = portico(
        command,
        "--wait",
        "0",
        directory=tmp_path,
        **addresses(servers, PORTICO_REDIS_URL="redis://127.0.0.1:1"),
    )
    memory = portico(command, directory=tmp_path, PORTICO_STORES="memory")

    assert (old.returncode, down.returncode, memory.returncode) == (1, 3, 1)
    assert "portico migrate" in old.stderr
    assert "redis" in down.stderr
    assert "PORTICO_STORES=memory" in memory.stderr
