"""The README keeps its word: every block in it is executed, in a copy of the tree where nothing is installed."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrypoints.local.servers import choose_ports
from tests.processes import family_of, kill_all, survivors

pytestmark = [pytest.mark.server, pytest.mark.timeout(500)]

ROOT = Path(__file__).parents[2]


def test_every_block_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    make_run, make_test, log_in, schedule = blocks("sh")
    (dotenv,) = blocks("dotenv")
    tree = tmp_path / "portico"
    copy_to(tree)
    *files, wiring, route, task = blocks("python")
    for block in (*files, route, task):
        (tree / place_of(block)).write_text(block)
    wire(tree / "bootstrap.py", wiring)
    (tree / ".env").write_text(dotenv)

    with running(make_run, tree) as variables:
        *_, user, runs = run(f"set -e\n{log_in}\necho\n{schedule}", tree, variables).splitlines()
        assert json.loads(user)["data"]["username"] == variables["PORTICO_ADMIN_USERNAME"]
        assert "succeeded" in {run["state"] for run in json.loads(runs)["data"]["records"]}

    assert " passed" in run(make_test, tree, variables | {"T": "tests/unit/test_mottos.py"})
    assert "0 broken" in run(".venv/bin/lint-imports", tree, variables)
    described = json.loads(run(f".venv/bin/python -c '{DESCRIBE}'", tree, variables))
    assert {"200", "401", "422"} <= described["/api/v1/auth/motto"]["put"]["responses"].keys()


DESCRIBE = """
import json
from application.settings import HttpSettings
from entrypoints.http import mottos
from entrypoints.http.app import application
app = application(HttpSettings(), debug=True, routers=[mottos.router])
print(json.dumps(app.openapi()["paths"]))
"""


def blocks(language: str) -> list[str]:
    """Return the code blocks of the README in one language."""
    readme = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def place_of(block: str) -> str:
    """Return the file that the first line of a block names."""
    return block.partition("\n")[0].removeprefix("# ")


def copy_to(directory: Path) -> None:
    """Copy what git knows and what it would add, as it is in the work tree."""
    listed = run("git ls-files -z --cached --others --exclude-standard", ROOT, os.environ)  # noqa: TID251
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
            target.chmod((ROOT / name).stat().st_mode)


def wire(bootstrap: Path, block: str) -> None:
    """Put the lines of a block into the container, and what they need to the other imports."""
    place, _, lines = block.partition("\n")
    assert place == "# bootstrap.py, in Container"
    imports = (
        "from adapters.memory.mottos import MemoryMottos\n"
        "from application.use_cases.mottos import SetMotto\n"
    )
    text = bootstrap.read_text()
    first_import = text.index("from adapters")
    end_of_container = text.index("\n\n\ndef build")
    bootstrap.write_text(
        text[:first_import]
        + imports
        + text[first_import:end_of_container]
        + "\n"
        + lines
        + text[end_of_container:]
    )


@contextmanager
def running(block: str, directory: Path) -> Iterator[dict[str, str]]:
    """Run the block that starts Portico until it is ready, and interrupt it afterwards as Ctrl-C does."""
    inherited = os.environ  # noqa: TID251 - handed on, less what would tell the product where it is
    ours = ("PORTICO_", "ENVIRONMENT", "MAKE", "MFLAGS", "COV", "PYTEST", "VIRTUAL_ENV")
    variables = {k: v for k, v in inherited.items() if not k.startswith(ours)} | {
        "PORTICO_HTTP_PORT": str(choose_ports(("http",), {})["http"]),
        "PORTICO_ADMIN_USERNAME": "grace",
        "PORTICO_ADMIN_PASSWORD": "correct horse battery staple",
    }
    with subprocess.Popen(  # noqa: S603 - a block of our README
        ["bash", "-c", block],  # noqa: S607
        cwd=directory,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as make:
        assert make.stdout is not None
        ready = any(line.strip().startswith("Stop") for line in make.stdout)
        family = family_of(make.pid) if make.poll() is None else []
        try:
            assert ready
            yield variables
            os.killpg(make.pid, signal.SIGINT)
            assert not survivors(family, within=30)
        finally:
            kill_all(family)


def run(script: str, directory: Path, variables: Mapping[str, str]) -> str:
    """Return what a script prints; it must succeed."""
    ran = subprocess.run(  # noqa: S603 - a block of our README
        ["bash", "-c", script],  # noqa: S607
        cwd=directory,
        env=dict(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
