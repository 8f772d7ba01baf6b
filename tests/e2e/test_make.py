"""`make` in a clone: what it says where it cannot install, and how it mends what is half-made or was moved.

The project is one of our Makefile, one dependency and one command, so that each installation takes seconds.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(300)

_PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "portico"
version = "1"
scripts = { portico = "small:main" }

[tool.setuptools]
py-modules = ["small"]
"""


def test_a_partial_or_moved_installation_is_repaired_by_the_next_make(tmp_path: Path) -> None:
    clone = tmp_path / "clöne of mine"
    clone.mkdir()
    ours_to(clone)
    lock = locked("iniconfig")
    write(clone, "pyproject.toml", _PROJECT)
    write(clone, "small.py", "def main(): print('runs in', __file__)")

    # Half-made, as by `python3 -m venv` that was interrupted; and the lock is not what was downloaded.
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    write(clone, "requirements-dev.lock", re.sub(r"sha256:\w{9}", "sha256:000000000", lock))
    failed = make("setup", clone)
    write(clone, "requirements-dev.lock", lock)
    mended = make("setup", clone)
    ran = command(clone)

    moved = clone.rename(tmp_path / "moved")
    again = make("setup", moved)

    assert (failed.returncode, failed.stdout.splitlines()[-1]) == (
        2,
        "Portico: the installation failed for the reason above; the next make begins anew",
    )
    assert mended.returncode == 0, mended.stderr
    assert ran == f"runs in {clone / 'small.py'}"
    assert again.returncode == 0, again.stderr
    assert command(moved) == f"runs in {moved / 'small.py'}"
    assert make("setup", moved).stdout == "make: Nothing to be done for 'setup'.\n"


def test_a_python_that_makes_no_virtual_environments_is_named(tmp_path: Path) -> None:
    """Debian and Ubuntu have it in a package of its own; without it, `-m venv` leaves half of one behind."""
    ours_to(tmp_path)
    write(tmp_path, "pyproject.toml", _PROJECT)
    write(tmp_path, "requirements-dev.lock", "")
    write(tmp_path, "lacking/ensurepip.py", "raise ImportError")

    refused = make("setup", tmp_path, PYTHONPATH=str(tmp_path / "lacking"))

    assert refused.returncode == 2
    assert "apt install python3-venv" in refused.stdout.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_uv_gets_the_configuration_of_pip(tmp_path: Path) -> None:
    """Mirrors, the authorities of a proxy, and all else without which a machine gets no packages."""
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.invalid/index\ntrusted-host = mirror.invalid\n"
        f"cert = /etc/ours.pem\nfind-links = {tmp_path} /not/there\n"
        "[install]\nextra-index-url =\n  https://one.invalid/index\n  https://two.invalid/index\n"
    )
    output = subprocess.check_output(  # noqa: S603 - ours
        [sys.executable, ROOT / ".ci" / "uv_environment.py"],
        env={
            "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
            "PIP_INDEX_URL": "https://closer.invalid/index",
            "UV_INSECURE_HOST": "chosen.invalid",
        },
        text=True,
    )

    variables = dict(line.removeprefix("export ").split("=", 1) for line in output.splitlines())
    variables.pop("UV_SYSTEM_CERTS", None)
    assert variables == {
        "UV_DEFAULT_INDEX": "https://closer.invalid/index",
        "UV_INDEX": "'https://one.invalid/index https://two.invalid/index'",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": str(tmp_path),
        "SSL_CERT_FILE": "/etc/ours.pem",
    }


def ours_to(clone: Path) -> None:
    shutil.copy(ROOT / "Makefile", clone)
    shutil.copy(ROOT / "requirements-build.lock", clone)
    shutil.copytree(ROOT / ".ci", clone / ".ci")


def locked(package: str) -> str:
    """Return what our lock says about a package."""
    text = (ROOT / "requirements-dev.lock").read_text()
    found = re.search(rf"^{package}==.*?(?=^\S|^    #)", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def write(clone: Path, name: str, text: str) -> None:
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).write_text(text)


def make(target: str, clone: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    inherited = os.environ  # noqa: TID251 - handed on, less what the make has said that runs this test
    ours = ("MAKE", "MFLAGS", "VIRTUAL_ENV")
    return subprocess.run(  # noqa: S603 - ours
        ["make", target],  # noqa: S607
        cwd=clone,
        env={k: v for k, v in inherited.items() if not k.startswith(ours)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def command(clone: Path) -> str:
    """Return what the command of the installation says."""
    portico = clone / ".venv" / "bin" / "portico"
    return subprocess.check_output([portico], cwd="/", text=True).strip()  # noqa: S603 - ours
