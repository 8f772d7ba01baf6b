"""Starts `portico`. Answers health checks from heartbeats, before the rest of the code is loaded."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from entrypoints.heartbeat import heartbeats


def main() -> None:
    """Run the command of the command line."""
    if answer_from_heartbeat(sys.argv[1:]):
        return
    # Half a second of imports.
    from entrypoints.cli.app import main as run  # noqa: PLC0415

    run()


def answer_from_heartbeat(arguments: Sequence[str]) -> bool:
    """Answer `worker --check` and `beat --check` if a heartbeat says yes; everything else is for the whole command."""
    command, options = arguments[:1], [*arguments[1:]]
    name = "celery"
    if command == ["worker"] and "--name" in options[:-1]:
        at = options.index("--name")
        name = options[at + 1]
        del options[at : at + 2]
    data_dir = _data_dir()
    if "--check" not in options or not {*options} <= {"--check", "--json"} or data_dir is None:
        return False
    found = _heartbeat(command, name, data_dir)
    if found is None:
        return False
    facts, sentence = found
    sys.stdout.write(f"{json.dumps(facts) if '--json' in options else sentence}\n")
    return True


def _heartbeat(
    command: Sequence[str], name: str, data_dir: Path
) -> tuple[dict[str, object], str] | None:
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


def _data_dir() -> Path | None:
    """Return PORTICO_DATA_DIR if it takes no more than a look at the environment."""
    variable = "PORTICO_DATA_DIR"
    if given := os.environ.get(variable):  # noqa: TID251 - what reads all settings takes too long to load
        return Path(given)
    if any(variable in file.read_text(errors="replace") for file in Path().glob(".env*")):
        return None
    return Path(".portico")


if __name__ == "__main__":
    main()
