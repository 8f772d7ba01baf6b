"""Starts `portico`. Answers health checks before the rest of the code is loaded."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

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
    found = _answering_api() if command == ["api"] else _heartbeat(command, name)
    if found is None:
        return False
    facts, sentence = found
    sys.stdout.write(f"{json.dumps(facts) if '--json' in options else sentence}\n")
    return True


_Answer = tuple[dict[str, object], str]


def _answering_api() -> _Answer | None:
    host, port = _setting("PORTICO_HTTP_HOST", "127.0.0.1"), _setting("PORTICO_HTTP_PORT", "8000")
    if host is None or port is None or not port.isdecimal():
        return None
    host = reachable_host(host)
    if not is_alive(host, int(port)):
        return None
    answer = {"host": host, "port": int(port), "answers": True}
    return answer, f"The API answers at port {port} of {host}"


def _heartbeat(command: Sequence[str], name: str) -> _Answer | None:
    directory = _setting("PORTICO_DATA_DIR", ".portico")
    if directory is None:
        return None
    data_dir = Path(directory)
    if command == ["worker"]:
        for _, facts in heartbeats(data_dir, f"worker {name}"):
            node = facts["worker"]
            return {"worker": node, "answers": True}, f"{node} answers"
    if command == ["beat"]:
        for _, facts in heartbeats(data_dir, "beat"):
            if facts["leads"]:
                leader = facts["leader"]
                answer = {"leader": leader, "leads": True, "problem": None, "publishing": None}
                return answer, f"{leader} leads"
    return None


def _setting(variable: str, default: str) -> str | None:
    """Return the value of a variable; None if it takes more than a look at the environment."""
    if given := os.environ.get(variable):  # noqa: TID251 - what reads all settings takes too long to load
        return given
    if any(variable in file.read_text(errors="replace") for file in Path().glob(".env*")):
        return None
    return default


if __name__ == "__main__":
    main()
