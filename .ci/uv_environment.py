"""Print what pip is configured with on this machine as shell commands that tell uv the same.

uv reads none of pip's configuration. Teams whose packages come from a mirror, and machines behind a proxy that looks
into TLS, have their settings there. What is in the environment for uv already stays.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_STORES = ("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/tls/certs", "/System/Library/Keychains")
"""Where systems keep the authorities that they trust."""


def main() -> None:
    """Print the commands."""
    listed = subprocess.check_output(
        [sys.executable, "-m", "pip", "config", "list"], stderr=subprocess.DEVNULL, text=True
    )
    for name, value in as_uv(configuration(listed)).items():
        if not os.environ.get(name):
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


def configuration(listed: str) -> dict[str, str]:
    """Return what `pip config list` says: what is for `install` beats what is for all, the environment both."""
    rank = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in rank and rank[section] >= found.get(name, (0, ""))[0]:
            found[name] = rank[section], value.strip("'\"")
    return {name: value for name, (_, value) in found.items()}


def as_uv(pip: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of uv that mean the same."""
    extra = [*_present(pip.get("extra-index-url", ""))]
    variables = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(extra),
        # pip takes the best of all indexes. That is safe here: the lock has the hash of every file.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_FIND_LINKS": ",".join(_present(pip.get("find-links", ""))),
        "UV_NO_INDEX": "1" if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
        "UV_INSECURE_HOST": pip.get("trusted-host", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "ALL_PROXY": pip.get("proxy", ""),
        # The authorities of the system, as pip has it: a proxy's own is among them.
        "UV_SYSTEM_CERTS": "true" if any(Path(store).exists() for store in _STORES) else "",
    }
    return {name: value for name, value in variables.items() if value}


def _present(places: str) -> Iterator[str]:
    """Yield the places in a list of pip, which only warns of a folder that is not there."""
    for place in places.replace("\\n", " ").split():
        url = urlsplit(place)
        is_file = url.scheme in {"", "file"}
        if not is_file or Path(url2pathname(url.path)).exists():
            yield place


if __name__ == "__main__":
    main()
