"""`make test-upstream`: python-socketio's own tests, with our server and namespaces in the place of theirs."""

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_FILES = ("test_server.py", "test_namespace.py", "test_manager.py", "test_pubsub_manager.py")

_OPTIONS = """\
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""


def main() -> None:
    """Fetch the tests of the locked version, whose hash is locked too, and run them."""
    with tempfile.TemporaryDirectory() as directory:
        tests = _source(Path(directory)) / "tests"
        (tests / "own.ini").write_text(_OPTIONS)
        ours = [
            "-p",
            "tests.upstream.plugin",
            "-c",
            str(tests / "own.ini"),
            "--import-mode=importlib",
        ]
        theirs = [str(tests / "async" / file) for file in _FILES]
        sys.exit(subprocess.call([sys.executable, "-m", "pytest", "--quiet", *ours, *theirs]))  # noqa: S603 - ours


def _source(directory: Path) -> Path:
    """Return the folder of python-socketio's source."""
    lock = Path("requirements.lock").read_text()
    locked = re.search(r"^python-socketio==.*?(?=^ {4}#)", lock, re.MULTILINE | re.DOTALL)
    assert locked is not None, "requirements.lock has no python-socketio"
    (directory / "locked.txt").write_text(locked[0])
    build = str(Path("requirements-build.lock").resolve())
    options = [
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--no-binary=:all:",
        f"--build-constraint={build}",
    ]
    what = ["--requirement", str(directory / "locked.txt"), "--dest", str(directory)]
    subprocess.check_call([sys.executable, "-m", "pip", "download", *options, *what])  # noqa: S603 - the command is ours
    [archive] = directory.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(directory, filter="data")
    return archive.with_suffix("").with_suffix("")


if __name__ == "__main__":
    main()
