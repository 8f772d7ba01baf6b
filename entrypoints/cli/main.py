"""Starts `portico`. Answers health checks before the rest of the code is loaded."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from entrypoints.cli.liveness import is_alive, reachable_host
from entrypoints.heartbeat import heartbeats


def main() -> None:
    """Run the command of the command line."""
    if answer_check(sys.argv[1:]):
        return
    # Half a second of imports.
    from entrypoints.cli.app import main as run  # noqa: PLC0415

    run()


def answer_check(arguments: Sequence[str]) -> bool:
    """Answer `--check` of api, worker and beat if the answer is yes; everything else is for the whole command."""
    command, options = arguments[:1], [*arguments[1:]]
    name = "celery"
    if command == ["worker"] and "--name" in options[:-1]:
        at = options.index("--name")
        name = options[at + 1]
        del options[at : at + 2]
    if "--check" not in options or not {*options} <= {"--check", "--json"}:
        return False
    found = _answer(command, name, json="--json" in options)
    if found is None:
        return False
    facts, sentence = found
    sys.stdout.write(f"{json.dumps(facts) if '--json' in options else sentence}\n")
    return True


_Answer = tuple[dict[str, object], str]


def _answer(command: Sequence[str], name: str, *, json: bool) -> _Answer | None:
    if command == ["api"]:
        return _answering_api()
    if command == ["worker"]:
        return _working(f"worker {name}")
    if command == ["beat"]:
        # The one that stands by does not know the name of the leader.
        return _leading() or (None if json else _waiting_to_lead())
    return None


def _answering_api() -> _Answer | None:
    host, port = _setting("PORTICO_HTTP_HOST", "127.0.0.1"), _setting("PORTICO_HTTP_PORT", "8000")
    if host is None or port is None or not port.isdecimal():
        return None
    host = reachable_host(host)
    if not is_alive(host, int(port)):
        return None
    answer = {"host": host, "port": int(port), "answers": True}
    return answer, f"The API answers at port {port} of {host}"


def _working(name: str) -> _Answer | None:
    for facts in _heartbeats(name):
        node = facts["worker"]
        return {"worker": node, "answers": True}, f"{node} answers"
    return None


def _leading() -> _Answer | None:
    for facts in _heartbeats("beat"):
        if facts["leads"]:
            leader = facts["leader"]
            answer = {"leader": leader, "leads": True, "problem": None, "publishing": None}
            return answer, f"{leader} leads"
    return None


def _waiting_to_lead() -> _Answer | None:
    """Say so if all beats of this host are as they should be: one with a problem is looked at in the database."""
    found = [*_heartbeats("beat")]
    if not found or not all(facts.get("stands_by") for facts in found):
        return None
    return {}, f"Another beat leads; {found[0]['leader']} stands by"


def _heartbeats(name: str) -> Iterator[Mapping[str, Any]]:
    directory = _setting("PORTICO_DATA_DIR", ".portico")
    if directory is not None:
        for _, facts in heartbeats(Path(directory), name):
            yield facts


def _setting(variable: str, default: str) -> str | None:
    """Return the value of a variable; None if it takes more than a look at the environment."""
    if given := os.environ.get(variable):  # noqa: TID251 - what reads all settings takes too long to load
        return given
    if any(variable in file.read_text(errors="replace") for file in Path().glob(".env*")):
        return None
    return default


if __name__ == "__main__":
    main()
