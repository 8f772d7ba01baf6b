"""RabbitMQ as the broker, by its address alone: what is promised with Redis holds, and it may die."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from tests.e2e.command import addresses, environment, portico, starting
from tests.e2e.jobs import ROOT, Portico, lines, portico_running, settings_of
from tests.support.rabbitmq import MISSING, RabbitMQ, program
from tests.support.servers import Servers, configured
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ | None]:
    """Yield a server of these tests, which may be killed; None if one is configured."""
    if "PORTICO_BROKER_URL" in configured():
        yield None
    elif program() is None:
        pytest.skip(MISSING)
    else:
        with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as node:
            yield node


@pytest.fixture(scope="module")
def broker_url(node: RabbitMQ | None) -> str:
    return configured()["PORTICO_BROKER_URL"] if node is None else node.url


@pytest.fixture(scope="module")
def variables(servers: Servers, worker: int, broker_url: str) -> dict[str, str]:
    return settings_of(servers, "rabbitmq", worker, PORTICO_BROKER_URL=broker_url)


@pytest.fixture(scope="module")
def jobs(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portico]:
    with portico_running(tmp_path_factory.mktemp("jobs"), variables) as jobs:
        yield jobs


def test_a_task_that_is_made_runs_and_runs_when_asked(jobs: Portico, tmp_path: Path) -> None:
    each_second = jobs.make(args=[str(tmp_path / "each second")])
    paused = jobs.make(args=[str(tmp_path / "paused")], enabled=False)

    jobs.data(jobs.http.post(f"{paused}/run"))
    (asked,) = wait_until(lambda: jobs.ended(paused))
    wait_until(lambda: len(jobs.ended(each_second)) >= 3)
    runs = jobs.ended(each_second)
    jobs.http.delete(each_second)

    assert asked["state"] == "succeeded"
    assert lines(tmp_path / "paused") == [""]
    assert all(run["state"] == "succeeded" and run["lateness"] < 1 for run in runs)


def test_the_message_of_a_process_that_died_comes_back(jobs: Portico, tmp_path: Path) -> None:
    task = jobs.make(
        task="test.die_once",
        args=[str(tmp_path / "died")],
        maxRuns=1,
        options={"expires": 60},
    )

    (run,) = wait_until(lambda: jobs.ended(task))

    assert (run["state"], run["error"]) == ("succeeded", "")


def test_each_run_whose_process_died_has_failed(jobs: Portico) -> None:
    """The supervisor says so over its connection, which a process that takes the place of another leaves alone."""
    task = jobs.make(task="test.die", maxRuns=2, options={"expires": 60})

    wait_until(lambda: len(jobs.ended(task)) == 2)

    assert {run["error"].split(":")[0] for run in jobs.ended(task)} == {"WorkerLostError"}
    assert "is not recorded" not in jobs.stack.said()


def test_a_broker_that_dies_and_comes_back_is_used_again_and_has_lost_nothing(
    jobs: Portico, node: RabbitMQ | None, tmp_path: Path
) -> None:
    if node is None:
        pytest.skip("a configured broker is not ours to kill")
    waiting = jobs.make(
        args=[str(tmp_path / "waits")], enabled=False, options={"queue": "late", "expires": 60}
    )
    jobs.http.post(f"{waiting}/run")
    wait_until(lambda: [run for run in jobs.runs(waiting) if run["publishedAt"]])
    each_second = jobs.make(args=[str(tmp_path / "all")], misfire="run_all")
    wait_until(lambda: jobs.ended(each_second))

    node.kill()
    time.sleep(0.5)
    node.start()
    back = time.time()
    wait_until(
        lambda: (tmp_path / "all").exists() and (tmp_path / "all").stat().st_mtime > back + 1
    )
    jobs.change(each_second, enabled=False)
    jobs.python("app.control.add_consumer('late')", tmp_path)

    (run,) = wait_until(lambda: jobs.ended(waiting))
    assert run["state"] == "succeeded"
    runs = wait_until(lambda: _all_ended(jobs, each_second))
    assert {run["state"] for run in runs} == {"succeeded"}
    assert "the broker takes messages again" in jobs.stack.said()


def test_a_broker_that_is_out_of_memory_delays_no_caller_of_any_task(
    jobs: Portico, node: RabbitMQ | None, tmp_path: Path
) -> None:
    """It takes connections and no messages. The beat says so, leads all the time, and publishes what is owed later."""
    if node is None:
        pytest.skip("a configured broker is not ours to starve")

    def scheduler(*, publishes: bool) -> Any:
        status = jobs.data(jobs.http.get("/api/v1/scheduler"))
        return status["isLeading"] and (status["publishing"] is None) is publishes and status

    each_second = jobs.make(
        args=[str(tmp_path / "all")],
        misfire="run_all",
        options={"timeout": 3600, "confirmTimeout": 3600},
    )
    wait_until(lambda: jobs.ended(each_second))
    before = wait_until(lambda: scheduler(publishes=True))

    node.limit_memory(0)
    result = wait_until(lambda: scheduler(publishes=False))
    checked = portico("beat", "--check", directory=tmp_path, **jobs.variables)
    node.limit_memory(0.9)
    after = wait_until(lambda: scheduler(publishes=True))
    jobs.change(each_second, enabled=False)

    assert "RabbitMQ did not answer within 2 s" in result["publishing"]["error"]
    assert checked.returncode == 1
    assert "RabbitMQ did not answer within 2 s" in checked.stderr
    assert after["epoch"] == before["epoch"], "it led all the time"
    runs = wait_until(lambda: _all_ended(jobs, each_second))
    assert {run["state"] for run in runs} == {"succeeded"}


def _all_ended(jobs: Portico, task: str) -> object:
    runs = jobs.runs(task)
    return all(run["finishedAt"] for run in runs) and runs


def test_a_worker_that_is_stopped_ends_what_it_runs_and_leaves_the_rest(
    jobs: Portico, broker_url: str, tmp_path: Path
) -> None:
    publish = "for _ in range(8): app.send_task('test.hang', queue='stopped', ignore_result=True)"
    jobs.python(publish, tmp_path)
    worker = ("worker", "--name", "second", "--queues", "stopped", "--concurrency", "1")

    with starting(*worker, directory=tmp_path, **jobs.variables) as second:
        second.wait_until(lambda: "test.hang" in second.said())
        exit_code = second.stop(signal.SIGTERM)

    assert exit_code == 0
    with Connection(broker_url) as connection:
        left = connection.SimpleQueue("stopped").qsize()
    assert left >= 4


def test_a_refused_connection_is_reported_with_its_reason_and_without_the_password(
    servers: Servers, broker_url: str, tmp_path: Path
) -> None:
    strange = broker_url.rstrip("/") + "/nowhere"
    secret = strange.replace("guest@", "s3cret@")

    result = portico(
        "beat",
        "--wait",
        "0",
        directory=tmp_path,
        **addresses(servers, PORTICO_BROKER_URL=strange),
    )

    assert result.returncode == 3
    assert "vhost nowhere not found" in result.stderr
    assert "PORTICO_BROKER_URL" in result.stderr
    if secret != strange:
        refused = _ask(secret, tmp_path)
        assert "Login was refused" in refused
        assert "s3cret" not in refused


def test_an_encrypted_connection_is_to_whom_it_claims_to_be(
    node: RabbitMQ | None, tmp_path: Path
) -> None:
    """By an authority that is known, and by its name."""
    if node is None:
        pytest.skip("a configured broker has a certificate of its own")
    known = f"?ssl_ca_certs={node.certified.authority}"

    assert "certificate verify failed" in _ask(node.encrypted_url, tmp_path)
    assert _ask(node.encrypted_url + known, tmp_path) == ""
    by_number = node.encrypted_url.replace("localhost", "127.0.0.1")
    assert "IP address mismatch" in _ask(by_number + known, tmp_path)


def _ask(url: str, directory: Path) -> str:
    """Return what keeps a worker from the broker of that address; nothing if it gets there."""
    asked = subprocess.run(
        [sys.executable, "-m", "entrypoints.celery.broker"],
        check=False,
        cwd=ROOT,
        env=environment(directory),
        input=url,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert bool(asked.returncode) == bool(asked.stderr)
    return asked.stderr
