"""Both type checkers find in `tests/typing` the errors that its comments name, and no others."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = sorted(Path(ROOT, "tests", "typing").glob("*.py"))
COMMENT = re.compile(r"# (type|pyright): ignore\[([\w, -]+)\]")

Errors = set[tuple[str, int, str]]
"""File, line, and code of each."""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a directory with the samples, without the comments that silence the checkers."""
    for sample in SAMPLES:
        Path(tmp_path, sample.name).write_text(COMMENT.sub("", sample.read_text()))
    return tmp_path


def expected(checker: str) -> Errors:
    return {
        (sample.name, number, code)
        for sample in SAMPLES
        for number, line in enumerate(sample.read_text().splitlines(), start=1)
        for name, codes in COMMENT.findall(line)
        if name == checker
        for code in codes.split(", ")
    }


def run(*command: str, cwd: Path = ROOT) -> str:
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(  # noqa: S603  our own checkers on our own files
        [program, *command[1:]], cwd=cwd, capture_output=True, text=True, timeout=110, check=False
    ).stdout


def test_mypy_finds_the_errors_that_must_be_there(bare: Path) -> None:
    cache = ROOT / ".mypy_cache" / "typing"
    output = run(
        *("mypy", "--output=json", f"--cache-dir={cache}", "--config-file=pyproject.toml"),
        *(str(path) for path in bare.glob("*.py")),
    )

    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    errors = {
        (Path(error["file"]).name, error["line"], error["code"])
        for error in found
        if error["severity"] == "error"
    }
    assert errors == expected("type")


def test_basedpyright_finds_the_errors_that_must_be_there(bare: Path) -> None:
    environment = Path(sys.prefix)
    settings = {
        "include": ["*.py"],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "venvPath": str(environment.parent),
        "venv": environment.name,
        "extraPaths": [str(ROOT)],
    }
    Path(bare, "pyrightconfig.json").write_text(json.dumps(settings))

    output = run("basedpyright", "--outputjson", cwd=bare)

    errors = {
        (Path(found["file"]).name, found["range"]["start"]["line"] + 1, found["rule"])
        for found in json.loads(output)["generalDiagnostics"]
        if found["severity"] == "error"
    }
    assert errors == expected("pyright")
