"""Every code block of the documentation is executed, by the test that is named here, or a reason says why none can."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from entrypoints.celery.typed import TypedCelery
from entrypoints.http.sessions.log_in import LogInBody
from tests.support.readme import blocks, documented, place_of
from tests.support.web import Web
from tests.support.world import World

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

A_PICTURE = "A picture: there is nothing to execute."
NO_NGINX = "The tests have no nginx."
README = "test_every_block_of_the_readme_does_what_it_says"
IN_CHINESE = "test_the_readme_in_chinese_has_the_same_blocks_in_the_same_order"
OF_README = "sh sh sh sh sh text python python diff python python python python python diff diff sh sh python dotenv sh"
SETTINGS = "test_settings_for_scaling_out_are_accepted"
SERVERS = "test_a_server_takes_the_configuration_of_the_documentation"
BOTH_CLIENTS = "test_both_clients_talk_and_miss_nothing_when_they_are_disconnected"
HANDLER = "test_the_handler_of_the_page_answers_as_its_test_says"

# Of each page its blocks in their order: the language, and the test that executes it or the reason why none does.
# Diagrams (mermaid) are left out.
SHOWN_BY: dict[str, list[tuple[str, str]]] = {
    "README.md": [
        (language, A_PICTURE if language == "text" else README) for language in OF_README.split()
    ],
    "README.zh-CN.md": [(language, IN_CHINESE) for language in OF_README.split()],
    "CONTRIBUTING.md": [("text", "test_every_make_command_that_is_mentioned_exists")],
    "docs/clients.md": [
        ("json", "test_the_log_in_of_the_page_has_the_fields_of_the_route"),
        ("js", "test_the_documented_example_opens"),
        ("js", "test_the_documented_log_in_of_browsers_sends_what_opens"),
        ("sh", "test_the_documented_command_of_openssl_opens"),
        ("python", "test_the_documented_example_opens"),
    ],
    "docs/files.md": [
        ("python", "test_the_client_of_the_documentation_uploads_and_resumes"),
        ("js", "test_the_browser_client_of_the_documentation_uploads"),
        ("json", "test_the_cors_rule_of_the_page_is_what_s3_takes"),
    ],
    "docs/http.md": [
        ("json", "test_responses_have_the_fields_that_are_documented"),
        ("json", "test_responses_have_the_fields_that_are_documented"),
        ("python", "test_a_list_is_read_to_its_end"),
    ],
    "docs/jobs.md": [
        ("python", "test_the_task_of_the_page_runs_and_its_schedule_is_accepted"),
        ("dockerfile", "test_the_image_of_the_page_is_made_of_ours"),
        ("json", "test_the_task_of_the_page_runs_and_its_schedule_is_accepted"),
        ("text", A_PICTURE),
    ],
    "docs/operations.md": [
        ("yaml", "test_the_documented_collector_is_reached_by_every_process_and_reaches_out"),
        ("sql", "test_a_role_takes_the_settings_of_the_documentation"),
    ],
    "docs/realtime.md": [
        ("python", BOTH_CLIENTS),
        ("js", BOTH_CLIENTS),
        ("python", HANDLER),
        ("diff", "test_the_change_of_a_file_that_the_page_shows_can_be_made"),
        ("python", HANDLER),
        ("python", "test_handlers_are_given_what_the_page_says"),
        ("python", "test_handlers_are_given_what_the_page_says"),
        ("python", "test_the_task_of_the_page_notifies_a_user"),
        ("dotenv", "test_the_task_of_the_page_notifies_a_user"),
        ("nginx", NO_NGINX),
    ],
    "docs/scaling.md": [
        ("dotenv", SETTINGS),
        ("dotenv", SETTINGS),
        ("conf", SERVERS),
        ("dotenv", SETTINGS),
        ("conf", SERVERS),
        ("conf", SERVERS),
        ("dotenv", SETTINGS),
        ("dotenv", SETTINGS),
    ],
}


def languages(page: Path) -> list[str]:
    """Return the language of each code block, also of those in lists; "" where none is said."""
    fences = re.findall(r"^ *(?:```|~~~)(.*)$", page.read_text(), re.MULTILINE)
    return [language for language in fences[::2] if language != "mermaid"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_executed_or_says_why_not(page: Path) -> None:
    expected = SHOWN_BY.get(str(page.relative_to(ROOT)), [])

    assert languages(page) == [language for language, _ in expected]


def test_the_tests_that_execute_blocks_exist() -> None:
    sources = "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    existing = set(re.findall(r"def (test_\w+)\(", sources))
    named = {by for shown in SHOWN_BY.values() for _, by in shown} - {A_PICTURE, NO_NGINX}

    assert named - existing == set()
    assert {str(page.relative_to(ROOT)) for page in PAGES} >= SHOWN_BY.keys()


async def test_the_task_of_the_page_runs_and_its_schedule_is_accepted(
    admin_web: Web, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "jobs.md"
    # The application of the workers takes its settings from the environment, and would keep the task.
    celery = ModuleType("entrypoints.celery.app")
    celery.app = TypedCelery("docs", set_as_current=False)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, celery.__name__, celery)
    names = documented(page, "shop/tasks.py")

    async def container() -> object:
        return world.container

    monkeypatch.setitem(names, "container", container)
    await names["remind"].acall(7, politely=False)

    [schedule] = map(json.loads, blocks("json", page.read_text()))
    assert schedule["task"] == names["remind"].name
    created = await admin_web.client.post("/api/v1/periodic-tasks", json=schedule)
    assert created.status_code == 201, created.text
    assert schedule["args"] == created.json()["data"]["args"]


def test_the_image_of_the_page_is_made_of_ours() -> None:
    """No image is built here: the module that the page shows is copied to where Python looks for it."""
    page = (ROOT / "docs" / "jobs.md").read_text()
    [block] = blocks("dockerfile", page)
    instructions = dict(line.split(" ", 1) for line in block.splitlines())
    variables = dict(pair.split("=", 1) for pair in instructions["ENV"].split())
    source, target = instructions["COPY"].split()
    [task] = blocks("python", page)

    assert f"--tag {instructions['FROM']} ." in (ROOT / "Containerfile").read_text()
    assert target == f"{variables['PYTHONPATH']}/{source}"
    assert place_of(task) == f"{variables['PORTICO_TASK_MODULES'].replace('.', '/')}.py"
    assert place_of(task).startswith(f"{source}/")


def test_the_log_in_of_the_page_has_the_fields_of_the_route() -> None:
    [block] = blocks("json", (ROOT / "docs" / "clients.md").read_text())
    shown = json.loads(block)

    body = LogInBody.model_validate({**shown, "password": "c2VhbGVk", "kid": "a" * 43})

    assert body.username == shown["username"]
    assert shown.keys() == {"username", "password", "kid"}


def test_the_cors_rule_of_the_page_is_what_s3_takes() -> None:
    """By the description of S3 that boto has."""
    [block] = blocks("json", (ROOT / "docs" / "files.md").read_text())
    shown = json.loads(block)
    s3 = ServiceModel(Loader().load_service_model("s3", "service-2"))

    report = ParamValidator().validate(shown, s3.shape_for("CORSConfiguration"))

    assert report.generate_report() == ""
    [rule] = shown["CORSRules"]
    assert set(rule["AllowedMethods"]) == {"GET", "PUT"}
