"""`portico run` in a clone: what changes in the code is served a moment later."""

import sys
from pathlib import Path

import httpx

from tests.e2e.command import running
from tests.e2e.test_readme import copy_to


def test_a_change_is_served_and_a_mistake_waits_for_its_remedy(tmp_path: Path) -> None:
    """Without servers, where the API alone starts anew; tests/e2e/test_readme.py has worker and beat, too."""
    copy_to(tmp_path)
    pages = tmp_path / "entrypoints" / "http" / "docs.py"
    code = pages.read_text()
    portico = tmp_path / "portico"
    portico.write_text(f'#!/bin/sh\nexec {sys.executable} -m entrypoints.cli.main "$@"\n')
    portico.chmod(0o700)

    with running(tmp_path, program=str(portico), PORTICO_STORES="memory") as stack:
        for name in (".portico", ".venv", "tests"):  # which is not what is served
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "new.py").touch()
        pages.write_text(f"{code}\nraise RuntimeError\n")
        stack.wait_until(lambda: "api could not start" in stack.said())
        pages.write_text(code.replace('RedirectResponse("docs")', 'RedirectResponse("redoc")'))
        stack.wait_until(lambda: stack.said().count("api is ready") == 2)
        start = httpx.get(f"{stack.block['API']}/")

        assert start.headers["location"] == "redoc"
        changed = [line for line in stack.said().splitlines() if line.endswith(" has changed")]
        assert changed == 2 * ["entrypoints/http/docs.py has changed"]
