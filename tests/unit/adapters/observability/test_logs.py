"""What log lines look like, and what is never in them."""

import errno
import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from adapters.observability.logs import configure_logging
from application.settings import Environment, PostgresSettings, Settings

DEPLOYED = Settings(environment=Environment.PRODUCTION)
LOCAL = Settings(environment=Environment.LOCAL)
EVERYWHERE = pytest.mark.parametrize("settings", [DEPLOYED, LOCAL], ids=["json", "text"])

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the loggers of the process as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {
        name: logger.level
        for name, logger in root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, former in levels.items():
        logging.getLogger(name).setLevel(former)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def fail(error: Exception) -> None:
    raise error


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


# --- the form -----------------------------------------------------------------------------------


def test_a_line_is_json_where_machines_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(DEPLOYED)
    structlog.get_logger("portico.test").warning("disk is filling", free_bytes=12)

    (line,) = lines(capsys)

    timestamp = line.pop("timestamp")
    assert line == {
        "message": "disk is filling",
        "level": "warning",
        "logger": "portico.test",
        "free_bytes": 12,
    }
    assert timestamp.endswith("Z")
    assert datetime.fromisoformat(timestamp).tzinfo is not None


def test_a_line_is_text_where_people_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LOCAL)
    structlog.get_logger("portico.test").warning("disk is filling", free_bytes=12)

    (line,) = capsys.readouterr().err.splitlines()

    assert "disk is filling" in line
    assert "free_bytes=12" in line
    assert "Z [warning" in line


@pytest.mark.parametrize("name", ["uvicorn.error", "celery.task", "engineio.server"])
def test_libraries_with_handlers_of_their_own_write_in_the_same_form(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger(name).addHandler(logging.StreamHandler(sys.stderr))
    configure_logging(DEPLOYED)
    logging.getLogger(name).error("lost %s of %d", "one", 2, extra={"shard": 3})

    (line,) = lines(capsys)
    assert (line["message"], line["logger"], line["shard"]) == ("lost one of 2", name, 3)


def test_configuring_twice_writes_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        configure_logging(DEPLOYED)
    structlog.get_logger().info("once")
    logging.getLogger("library").info("once")

    assert len(lines(capsys)) == 2


@EVERYWHERE
def test_the_context_of_the_request_is_in_every_line(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings)
    with structlog.contextvars.bound_contextvars(request_id="01J", user_id="42"):
        structlog.get_logger().info("ours")
        logging.getLogger("library").info("theirs")
    structlog.get_logger().info("later")

    ours, theirs, later = capsys.readouterr().err.splitlines()
    for line in (ours, theirs):
        assert "01J" in line
        assert "42" in line
    assert "01J" not in later


def test_the_level_is_the_least_important_that_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(Settings(log_level="WARNING"))
    structlog.get_logger().info("unimportant")
    logging.getLogger("library").info("unimportant")
    structlog.get_logger().warning("important")

    assert [line["message"] for line in lines(capsys)] == ["important"]


@pytest.mark.parametrize("name", ["botocore.auth", "pymongo.command", "engineio.server"])
def test_libraries_that_log_what_they_send_do_not(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(Settings(log_level="DEBUG"))
    logging.getLogger(name).debug("secret")
    logging.getLogger(name).info("secret")

    assert lines(capsys) == []


# --- what is never in a line --------------------------------------------------------------------


@EVERYWHERE
@pytest.mark.parametrize(
    "name",
    [
        "password",
        "newPassword",
        "passwd",
        "access_token",
        "refreshToken",
        "X-Refresh-Token",
        "Authorization",
        "Cookie",
        "set-cookie",
        "client_secret",
        "api_key",
    ],
)
def test_a_key_named_like_a_secret_is_masked_however_deep(
    settings: Settings, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings)
    structlog.get_logger().info("asked", **{name: "hunter2"})
    structlog.get_logger().info("asked", request={"headers": [{name: "hunter2"}]})
    logging.getLogger("library").info("asked", extra={name: "hunter2"})

    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert written.count("[masked]") == 3


@EVERYWHERE
def test_tokens_and_passwords_in_addresses_are_masked_wherever_they_are(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings)
    address = "postgresql://ada:hunter2@db.example.org/portico"
    log = structlog.get_logger()
    log.info(f"cannot reach {address}", reason=[f"Bearer {TOKEN}"])  # noqa: G004 - as people do
    logging.getLogger("library").info("cannot reach %s", address)
    try:
        fail(ConnectionError(f"{address} says no to {TOKEN}"))
    except ConnectionError:
        log.exception("cannot reach it")

    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert TOKEN not in written
    assert "db.example.org" in written


@EVERYWHERE
def test_arguments_and_results_of_tasks_are_not_logged(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Celery writes both into its lines; which task it was is all there is to know."""
    configure_logging(settings)
    data = {"id": "7", "name": "mail.send", "args": "('hunter2',)", "return_value": "'hunter2'"}

    logging.getLogger("celery.app.trace").info(
        "Task %(name)s[%(id)s] succeeded: %(return_value)s", data, extra={"data": data}
    )

    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert "Task mail.send[7] succeeded" in written
    assert "task_id" in written


@EVERYWHERE
def test_local_variables_are_not_part_of_a_traceback(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings)
    passphrase = TOKEN[::-1]
    try:
        int(passphrase[:0])
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("library").exception("failed")

    written = capsys.readouterr().err
    assert written.count("ValueError") >= 2
    assert passphrase not in written


def test_an_exception_is_structured_where_machines_read_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def look_up() -> None:
        try:
            fail(KeyError("missing"))
        except KeyError as error:
            raise ValueError("wrong") from error

    configure_logging(DEPLOYED)
    try:
        look_up()
    except ValueError:
        structlog.get_logger().exception("failed")

    (line,) = lines(capsys)
    outer, inner = line["exception"]
    assert (outer["exc_type"], outer["exc_value"]) == ("ValueError", "wrong")
    assert inner["exc_type"] == "KeyError"
    assert outer["frames"][-1]["name"] == "look_up"
    assert "locals" not in outer["frames"][-1]


@EVERYWHERE
def test_no_text_breaks_out_of_its_line_or_commands_the_terminal(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings)
    forged = "ada\r\n2026-03-01T12:00:00Z [info] all is well\x1b[2J\x9b31m\u2028\x00"
    structlog.get_logger().info(forged, name=forged, nested={"list": [forged], forged: 1})
    logging.getLogger("library").info("%s", forged)

    written = capsys.readouterr().err
    assert len(written.splitlines()) == 2
    assert written.replace("\n", "").isprintable()


def test_a_message_of_an_exception_does_not_pass_for_a_line_of_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(LOCAL)
    try:
        fail(ValueError("wrong\n2026-03-01T12:00:00Z [info] all is well\x1b[2J"))
    except ValueError:
        structlog.get_logger().exception("failed")

    first, *others = capsys.readouterr().err.splitlines()
    assert "failed" in first
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in "".join(others)


def test_a_value_that_is_no_text_is_written_as_python_shows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(DEPLOYED)
    structlog.get_logger().info(
        "started",
        postgres=PostgresSettings(url="postgresql://ada:hunter2@db"),
        at=datetime.min.replace(tzinfo=UTC),
        n=None,
    )

    (line,) = lines(capsys)
    assert line["postgres"].startswith("PostgresSettings(pool_size=10")
    assert (line["at"], line["n"]) == ("0001-01-01 00:00:00+00:00", None)


# --- where lines go -----------------------------------------------------------------------------


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_cannot_be_written_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", FullDisk())
    configure_logging(DEPLOYED)

    structlog.get_logger("portico.test").warning("lost")


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    log = tmp_path / "portico.log"
    configure_logging(DEPLOYED, file=str(log))
    structlog.get_logger("portico.test").warning("old")
    log.rename(tmp_path / "portico.log.1")
    structlog.get_logger("portico.test").warning("new")

    logging.getLogger().handlers[0].close()
    assert json.loads(log.read_text())["message"] == "new"


def test_a_stack_and_an_exception_are_logged_on_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(DEPLOYED)
    log = structlog.get_logger("portico.test")
    try:
        fail(ValueError("the cause"))
    except ValueError:
        log.exception("broken")
    log.info("here", stack_info=True)

    broken, here = lines(capsys)
    assert (broken["level"], broken["exception"][0]["exc_value"]) == ("error", "the cause")
    assert "test_logs" in here["stack"]


def test_a_line_that_is_no_valid_unicode_is_written_to_a_file_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "portico.log"
    configure_logging(LOCAL, file=str(log))

    structlog.get_logger("portico.x").warning("half \ud800 a character")
    logging.getLogger("portico.y").warning("half \ud800 another")

    logging.getLogger().handlers[0].close()
    lines = log.read_text("utf-8")
    assert "half \\ud800 a character" in lines
    assert "half \\ud800 another" in lines
