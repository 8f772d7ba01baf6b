"""What the documentation says about the code is so."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase

from tests.support.readme import apply, blocks, place_of, readme

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_documentation_names_exists() -> None:
    pages = {page.name: page.read_text() for page in ROOT.glob("docs/**/*.md")}
    named = {name for text in pages.values() for name in re.findall(r"`(test_\w+)`", text)}
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    existing = set(re.findall(r"def (test_\w+)\(", tests))

    assert named
    assert named - existing == set()


def test_every_setting_that_the_documentation_names_exists() -> None:
    """`PORTICO_FILES_*` names several, and `PORTICO_POSTGRES_URL_FILE` a file that holds one."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    named = {name for page in pages for name in re.findall(r"\bPORTICO_\w+", page.read_text())}
    existing = set(
        re.findall(r"^#?(PORTICO_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    )

    unknown = {name for name in named if name.removesuffix("_FILE") not in existing}

    assert len(named) > len(existing)
    assert {name for name in unknown if not any(n.startswith(name) for n in existing)} == set()


def test_the_changes_of_files_that_the_readme_shows_can_be_made(tmp_path: Path) -> None:
    """tests/e2e/test_readme.py makes them, and looks at what becomes of it; this takes no minutes."""
    for block in blocks("diff"):
        (tmp_path / place_of(block)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place_of(block)).write_bytes((ROOT / place_of(block)).read_bytes())
        apply(block, tmp_path)

    assert len(blocks("diff")) == 3


def test_the_readme_counts_the_files_of_its_example() -> None:
    """The last new file is the migration, which a command writes."""
    [example] = re.findall(r"^## Add a capability\n(.*?)^## ", readme(), re.MULTILINE | re.DOTALL)
    [(new, changed)] = re.findall(r"takes (\w+) new files, and .+ lines in (\w+) files", example)

    assert len(blocks("python", example)) + 1 == _NUMBERS.index(new)
    assert "make migration" in example
    assert len(blocks("diff", example)) == _NUMBERS.index(changed)


_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def test_the_readme_in_chinese_has_the_same_blocks_in_the_same_order() -> None:
    """Both have as many headings, and each links to the other."""
    english, chinese = readme(), (ROOT / "README.zh-CN.md").read_text()

    assert blocks(r"\w+", chinese) == blocks(r"\w+", english)
    assert len(re.findall(r"^## ", chinese, re.MULTILINE)) == len(
        re.findall(r"^## ", english, re.MULTILINE)
    )
    assert "](README.zh-CN.md)" in english
    assert "](README.md)" in chinese


def names_in(path: Path) -> set[str]:
    """Return `Class.method` and `function` of Python, and the functions of Lua."""
    if path.suffix == ".lua":
        return set(re.findall(r"^local function (\w+)", path.read_text(), re.MULTILINE))
    return set(_defined(ast.parse(path.read_text()), ""))


def _defined(node: ast.AST, prefix: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{child.name}"
            yield from _defined(child, f"{prefix}{child.name}.")


def test_the_functions_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| .+ \| \[([\w/.]+)\]\(\.\./\1\) \| `([\w.]+)` \|$", page, re.MULTILINE)

    assert len(rows) == page.count("](../") - page.count("](../README") - page.count("](../CONTRIB")
    assert [(file, name) for file, name in rows if name not in names_in(ROOT / file)] == []


def test_every_call_of_mongodb_is_compared_with_its_manual() -> None:
    page = (ROOT / "docs" / "mongodb.md").read_text()
    code = "".join(path.read_text() for path in (ROOT / "adapters" / "mongo").glob("*.py"))
    of_the_driver = {
        name for kind in (AsyncIOMotorCollection, AsyncIOMotorDatabase) for name in dir(kind)
    }
    called = {
        name
        for name in re.findall(r"(?:await|=|:) (?!self\.[a-z_]+\()[\w.]+\.([a-z_]+)\(", code)
        if name in of_the_driver | {"start_session", "start_transaction", "to_list"}
    }

    assert len(called) > 8
    assert called - set(re.findall(r"`(\w+)`", page)) == set()


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        (page.name, link)
        for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        if not (page.parent / link).exists()
    ]

    assert broken == []
