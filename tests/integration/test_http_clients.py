"""The client of docs/http.md, as its readers run it, over a real socket."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from entrypoints.api import create_api
from tests.support.builders import a_role, a_user, an_audit_entry
from tests.support.clock import MINUTE
from tests.support.http_server import serving
from tests.support.readme import ROOT, blocks, documented
from tests.support.web import description
from tests.support.world import PASSWORD, World

PAGE = ROOT / "docs" / "http.md"
CLIENT = documented(PAGE, "portico_client.py")


@pytest.fixture
async def address(world: World) -> AsyncIterator[str]:
    app = create_api(container=world.container)
    async with serving(app, world.container.settings()) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def api(world: World, address: str) -> AsyncIterator[Any]:
    await world.given(a_user(username="ada", is_admin=True))

    def seal(password: str, _public_key: str) -> str:
        return world.seal(password).ciphertext

    api = CLIENT["Api"](address, seal)
    try:
        assert (await api.log_in("ada", PASSWORD))["username"] == "ada"
        yield api
    finally:
        await api.close()


async def test_responses_have_the_fields_that_are_documented(api: Any, address: str) -> None:
    envelope, problem = [json.loads(block) for block in blocks("json", PAGE.read_text())]

    shown = (await api.send("GET", "/roles")).json()
    assert shown.keys() == envelope.keys()
    assert shown["data"].keys() == envelope["data"].keys()
    async with httpx.AsyncClient(base_url=address) as http:
        refused = (await http.get("/api/v1/nowhere")).json()
    unlike = {"ts", "requestId"}
    assert {k: v for k, v in refused.items() if k not in unlike} == {
        k: v for k, v in problem.items() if k not in unlike
    }
    assert refused.keys() == problem.keys()


async def test_an_expired_token_is_refreshed_once_for_all_requests(world: World, api: Any) -> None:
    await world.clock.pass_time(11 * MINUTE)

    infos = await asyncio.gather(*(api.call("GET", "/auth/user/info") for _ in range(20)))

    assert {info["username"] for info in infos} == {"ada"}
    assert len(await api.call("GET", "/auth/sessions")) == 1


async def test_a_list_is_read_to_its_end(world: World, api: Any) -> None:
    added = [an_audit_entry("things.counted") for _ in range(250)]
    await world.container.audit_log().append(added)

    read = [entry["id"] async for entry in api.slices("/audit", action="things.counted")]

    assert sorted(read) == sorted(str(entry.id) for entry in added)


async def test_a_change_that_others_made_meanwhile_is_not_overwritten(
    world: World, api: Any
) -> None:
    role = await world.given_role(a_role())
    path = f"/roles/{role.id}"

    def renamed(shown: dict[str, Any], name: str) -> dict[str, Any]:
        return {key: shown[key] for key in ("code", "permissions")} | {"name": name}

    assert (await api.change(path, lambda shown: renamed(shown, "Second")))["name"] == "Second"
    version = (await api.send("GET", path)).headers["ETag"]
    await api.change(path, lambda shown: renamed(shown, "Third"))
    with pytest.raises(CLIENT["ApiError"]) as refusal:
        await api.call(
            "PUT",
            path,
            json={"code": role.code.value, "name": "Fourth", "permissions": []},
            headers={"If-Match": version},
        )

    assert (refusal.value.status, refusal.value.error) == (412, "platform.precondition_failed")


async def test_a_limit_is_waited_for(world: World, api: Any) -> None:
    async with httpx.AsyncClient(base_url=api._http.base_url) as stranger:
        while (await stranger.get("/auth/keys/public")).is_success:
            pass
    waiting = asyncio.create_task(api.call("GET", "/auth/keys/public"))
    await asyncio.sleep(0.05)
    await world.clock.pass_time(MINUTE)

    assert "publicKey" in await waiting


async def test_a_refusal_names_the_field(api: Any) -> None:
    with pytest.raises(CLIENT["ApiError"]) as refusal:
        await api.call("POST", "/roles", json={"code": "", "name": "Nobody"})

    assert refusal.value.status == 422
    assert ["body", "code"] in [error["loc"] for error in refusal.value.errors]


def test_every_status_of_an_error_is_documented() -> None:
    rows = re.findall(r"^\| ([0-9, ]+) \| ", PAGE.read_text(), re.MULTILINE)
    documented_statuses = {status for row in rows for status in row.split(", ")}
    operations = [o for path in description()["paths"].values() for o in path.values()]

    statuses = {status for operation in operations for status in operation["responses"]}

    assert documented_statuses == {status for status in statuses if status >= "400"}
