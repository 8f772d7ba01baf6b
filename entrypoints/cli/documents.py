"""`portico openapi` and `portico asyncapi`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from application.settings import HttpSettings
from entrypoints.cli import console
from entrypoints.cli.errors import Refused
from entrypoints.http.app import described_app
from entrypoints.realtime.documents import document
from entrypoints.realtime.server import described_server


def write_openapi(file: Path | None) -> None:
    """Write the OpenAPI document of a deployed API; raise `Refused` if the file cannot be written."""
    _write(described_app(HttpSettings(), debug=False).openapi(), file)


def write_asyncapi(file: Path | None) -> None:
    """Write the AsyncAPI document of the events; raise `Refused` if the file cannot be written."""
    _write(document(described_server()), file)


def _write(found: Mapping[str, Any], file: Path | None) -> None:
    text = json.dumps(found, indent=2)
    if file is None:
        console.show(text)
        return
    try:
        file.write_text(f"{text}\n")
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from None
    console.say(f"Wrote {file}")
