"""The words of the code are those of `docs/glossary.md`, and private words that were replaced do not come back."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("domain", "application", "adapters", "entrypoints", "local_stack")

# What these words meant has a name in the field: see the glossary.
PRIVATE_WORDS = {
    *("agenda", "clerk", "courier", "deposed", "exchange", "keeper", "look", "news", "noter"),
    *("nobody", "office", "reach", "settle", "settled", "sought", "standing", "told", "turn"),
    *("whatever", "whoever"),
}

# Words that hide who does something: a sentence has a client, a caller, a process or a user as its subject.
HIDING_WORDS = re.compile(r"\b(nobody|whoever|whatever)\b", re.IGNORECASE)
# A test is named for a sentence: "a client that reads nothing is cut off", not "who reads nothing".
NAMED_BY_A_QUESTION = re.compile(r"test_(what|who|whom|whose|whoever|whatever)_")

ALLOWED = {
    "exchange": "AMQP's word, in options of a message",
}


@cache
def identifiers() -> dict[str, set[str]]:
    """Return the identifiers of the code, each with the files that have it."""
    found: dict[str, set[str]] = {}
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            source = str(path.relative_to(ROOT))
            for name in (path.stem, *names_in(ast.parse(path.read_text()))):
                found.setdefault(name, set()).add(source)
    return found


def names_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case _:
                pass


def words_of(identifier: str) -> list[str]:
    """Split `AccessSnapshot`, `access_snapshot` and `ACCESS_SNAPSHOT` into their words."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def glossary() -> list[tuple[str, str, str]]:
    """Return the words, with the path and the name that the glossary gives for each."""
    text = (ROOT / "docs" / "glossary.md").read_text()
    return re.findall(r"^- \*\*(.+?)\*\*: .+? `([\w/.]+)`, `(\w+)`$", text, re.MULTILINE)


def prose_of(path: Path) -> Iterator[str]:
    """Yield the docstrings and comments of a file, and the names of its tests as words; no code in backticks."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield re.sub(r"`[^`]*`", "", text)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield name.replace("_", " ")
            case _:
                pass
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield re.sub(r"`[^`]*`", "", token.string)


@pytest.mark.parametrize(("word", "path", "name"), glossary(), ids=str)
def test_a_word_of_the_glossary_lives_where_the_glossary_says(
    word: str, path: str, name: str
) -> None:
    assert any(file.startswith(path) for file in identifiers().get(name, ()))


@pytest.mark.parametrize("word", [word for word, _, _ in glossary()])
def test_a_word_of_the_glossary_is_a_word_of_the_code(word: str) -> None:
    spoken = {" ".join(words_of(identifier)) for identifier in identifiers()}

    assert any(re.search(rf"\b{word}\b", each) for each in spoken)


def test_every_line_of_the_glossary_is_checked_and_the_words_are_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = [word for word, _, _ in glossary()]

    assert len(words) == len(re.findall(r"^- ", text, re.MULTILINE))
    assert len(words) >= 30
    assert words == sorted(words)


@pytest.mark.parametrize("word", sorted(PRIVATE_WORDS - ALLOWED.keys()))
def test_a_private_word_does_not_come_back(word: str) -> None:
    found = {
        f"{file}: {identifier}"
        for identifier, files in identifiers().items()
        if word in words_of(identifier)
        for file in files
    }

    assert found == set()


@pytest.mark.parametrize("folder", [*LAYERS, "tests"])
def test_a_sentence_says_who_does_something(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text.strip()}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != Path(__file__)
        for text in prose_of(path)
        if HIDING_WORDS.search(text)
    ]

    assert found == []


def test_a_test_is_named_for_a_sentence() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in re.findall(r"def (test_\w+)", path.read_text())
        if NAMED_BY_A_QUESTION.match(name)
    ]

    assert found == []
