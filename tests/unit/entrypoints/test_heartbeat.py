"""Heartbeats, and the questions that they answer."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from entrypoints.cli.errors import NoApiAnswers
from entrypoints.cli.liveness import check_api
from entrypoints.cli.main import answer_check
from entrypoints.heartbeat import Heartbeat, heartbeats


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty data directory, which is that of the environment."""
    monkeypatch.setenv("PORTICO_DATA_DIR", str(tmp_path))
    return tmp_path


def test_a_live_process_is_listed_with_its_last_report(data: Path) -> None:
    heart = Heartbeat(data, "worker celery")
    heart.beat(worker="old")
    heart.beat(worker="celery@host")

    assert [*heartbeats(data, "worker celery")] == [(os.getpid(), {"worker": "celery@host"})]
    assert [*heartbeats(data, "worker other")] == []
    heart.end()
    assert [*heartbeats(data, "worker celery")] == []


def test_a_heartbeat_of_a_while_ago_counts_for_nothing(data: Path) -> None:
    Heartbeat(data, "beat").beat(leads=True)
    (file,) = (data / "heartbeats").iterdir()
    os.utime(file, (time.time() - 11, time.time() - 11))

    assert [*heartbeats(data, "beat")] == []


def test_a_process_that_was_killed_leaves_no_heartbeat(data: Path) -> None:
    Heartbeat(data, "beat").beat(leads=True)
    (file,) = (data / "heartbeats").iterdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    file = file.rename(file.with_suffix(f".{gone.pid}"))

    assert [*heartbeats(data, "beat")] == []
    assert not file.exists()


def test_a_directory_that_cannot_be_written_is_no_failure(data: Path) -> None:
    (data / "file").touch()

    Heartbeat(data / "file", "beat").beat(leads=True)

    assert [*heartbeats(data / "file", "beat")] == []


def test_checks_are_answered_by_heartbeats(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Heartbeat(data, "worker second").beat(worker="second@host")
    Heartbeat(data, "beat").beat(leader="host:1", leads=True)

    assert answer_check(["worker", "--check", "--name", "second"])
    assert answer_check(["beat", "--check", "--json"])

    worker, beat = capsys.readouterr().out.splitlines()
    assert worker == "second@host answers"
    assert json.loads(beat) == {
        "leader": "host:1",
        "leads": True,
        "problem": None,
        "publishing": None,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["worker", "--check"],
        ["worker", "--name", "second"],
        ["worker", "--check", "--name"],
        ["beat", "--check"],
        ["beat", "--check", "--wait", "1"],
        ["doctor", "--check"],
        ["--check"],
        [],
    ],
)
def test_a_check_that_no_heartbeat_answers_is_for_the_whole_command(
    data: Path, arguments: list[str]
) -> None:
    """Nor one of a beat that leads and cannot publish, or that does not know whether any leads."""
    Heartbeat(data, "worker second").beat(worker="second@host")
    Heartbeat(data, "beat").beat(leader="host:1", leads=False, stands_by=False)

    assert not answer_check(arguments)


def test_a_beat_that_stands_by_says_that_another_one_leads(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Containers have one beat each. The name of the leader is in the database."""
    Heartbeat(data, "beat").beat(leader="host:1", leads=False, stands_by=True)

    assert answer_check(["beat", "--check"])
    assert capsys.readouterr().out == "Another beat leads; host:1 stands by\n"
    assert not answer_check(["beat", "--check", "--json"])


def test_a_beat_that_stands_by_does_not_speak_for_another_of_its_host(data: Path) -> None:
    Heartbeat(data, "beat").beat(leader="host:1", leads=False, stands_by=True)
    (file,) = (data / "heartbeats").iterdir()
    troubled = file.with_suffix(f".{os.getppid()}")
    troubled.write_text(json.dumps({"leader": "host:2", "leads": False, "stands_by": False}))

    assert not answer_check(["beat", "--check"])


def test_a_data_directory_that_a_file_names_is_for_the_whole_command(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    Heartbeat(data / ".portico", "worker celery").beat(worker="celery@host")
    monkeypatch.delenv("PORTICO_DATA_DIR")
    monkeypatch.chdir(data)

    assert answer_check(["worker", "--check"])
    (data / ".env.local").write_text("PORTICO_DATA_DIR=elsewhere")
    assert not answer_check(["worker", "--check"])


class Api(BaseHTTPRequestHandler):
    """Lives, unless somebody asks for more."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield the port at which an API answers, which is that of the environment."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        monkeypatch.setenv("PORTICO_HTTP_HOST", "0.0.0.0")  # noqa: S104 - as containers have it
        monkeypatch.setenv("PORTICO_HTTP_PORT", str(server.server_port))
        yield server.server_port
        server.shutdown()


def test_a_check_of_the_api_asks_whether_it_lives(
    api: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it is ready is another question: a restart would not bring back the server that it waits for."""
    assert answer_check(["api", "--check"])
    assert answer_check(["api", "--check", "--json"])

    said, answer = capsys.readouterr().out.splitlines()
    assert said == f"The API answers at port {api} of 127.0.0.1"
    assert json.loads(answer) == {"host": "127.0.0.1", "port": api, "answers": True}


def test_a_check_of_an_api_that_does_not_answer_fails(
    api: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Api, "do_GET", lambda request: request.send_error(503))

    assert not answer_check(["api", "--check"])
    with pytest.raises(NoApiAnswers, match=f"port {api} of 127.0.0.1"):
        check_api(host=None, port=None, json=False)
    with pytest.raises(NoApiAnswers):
        check_api(host=None, port=1, json=True)


def test_an_answer_loads_next_to_nothing(data: Path) -> None:
    """Health checks ask every few seconds; all of Portico would cost a second of a core each time."""
    Heartbeat(data, "worker celery").beat(worker="celery@host")
    code = (
        "import sys; sys.argv[1:] = ['worker', '--check']\n"
        "from entrypoints.cli.main import main; main()\n"
        "print(len(sys.modules), 'typer' in sys.modules)"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)  # noqa: S603 - ours

    answer, modules = shown.splitlines()
    assert answer == "celery@host answers"
    assert int(modules.split()[0]) < 150
    assert modules.endswith("False")
