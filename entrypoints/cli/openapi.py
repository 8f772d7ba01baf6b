"""`portico openapi`."""

import json
from pathlib import Path

from application.settings import HttpSettings
from entrypoints.cli import console
from entrypoints.cli.errors import Refused
from entrypoints.http.app import described_app


def write(file: Path | None) -> None:
    """Write the document of a deployed API; raise `Refused` if the file cannot be written."""
    document = json.dumps(described_app(HttpSettings(), debug=False).openapi(), indent=2)
    if file is None:
        console.show(document)
        return
    try:
        file.write_text(f"{document}\n")
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from None
    console.say(f"Wrote {file}")
