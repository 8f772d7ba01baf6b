"""The code blocks of the README and of other pages, and what a reader does with them."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def readme() -> str:
    """Return the text of the README."""
    return (ROOT / "README.md").read_text()


def blocks(language: str, text: str | None = None) -> list[str]:
    """Return the code blocks in one language, of the README or of a part of it."""
    return re.findall(
        rf"^```{language}\n(.*?)^```$", readme() if text is None else text, re.MULTILINE | re.DOTALL
    )


def place_of(block: str) -> str:
    """Return the file that the first line of a block names."""
    return block.partition("\n")[0].removeprefix("# ")


def documented(page: Path, file: str) -> dict[str, Any]:
    """Return the names that the Python block of a page defines which names `file` in its first line."""
    [block] = [each for each in blocks("python", page.read_text()) if place_of(each) == file]
    names: dict[str, Any] = {"__name__": file.removesuffix(".py")}
    exec(compile(block, file, "exec"), names)  # noqa: S102 - the example as readers will run it
    return names


def apply(block: str, tree: Path) -> None:
    """Make the changes of a block in the file that its first line names. The parts have a line of `…` between them."""
    file = tree / place_of(block)
    text = file.read_text()
    for part in block.partition("\n")[2].split(" …\n"):
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] or "\n" for line in lines if line[0] in " -")
        after = "".join(line[1:] or "\n" for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"{file.name} has no such lines, or many:\n{before}"
        text = text.replace(before, after)
    file.write_text(text)
