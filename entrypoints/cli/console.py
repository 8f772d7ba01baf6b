"""Output of the commands: results on standard output, everything else on standard error."""

import json
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str) -> None:
    """Print progress."""
    _stderr().print(text, style="dim", markup=False, soft_wrap=True)


def fail(text: str) -> None:
    """Print an error."""
    first, _, rest = text.partition("\n")
    _stderr().print(f"portico: {first}", style="bold red", markup=False, soft_wrap=True)
    if rest:
        _stderr().print(rest, markup=False, soft_wrap=True)


def show(text: str) -> None:
    """Print a result and flush standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def show_json(result: Mapping[str, object]) -> None:
    """Print a result for scripts, as one line of JSON."""
    show(json.dumps(result))


@cache
def _stderr() -> "Console":
    from rich.console import Console  # noqa: PLC0415 - 6 MB, and the API says nothing here

    return Console(stderr=True, highlight=False, emoji=False)
