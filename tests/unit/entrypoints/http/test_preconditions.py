"""Versions on the wire: two people who change the same thing do not undo each other's work without noticing."""

import pytest

from application.settings import CorsSettings, HttpSettings
from entrypoints.http.app import described_app
from tests.support.builders import a_periodic_task, a_role, a_user
from tests.support.web import Web, description

EDITOR = {"code": "editor", "name": "Editor"}
STALE = '"1"'


async def paths(web: Web) -> dict[str, str]:
    """Return the path of a new thing of each kind."""
    return {
        "role": f"/api/v1/roles/{(await web.world.given_role(a_role())).id}",
        "user": f"/api/v1/users/{(await web.world.given(a_user())).id}",
        "task": f"/api/v1/periodic-tasks/{(await web.world.given_task(a_periodic_task())).id}",
    }


async def test_the_second_of_two_who_read_the_same_role_is_refused(admin_web: Web) -> None:
    path = (await paths(admin_web))["role"]
    read = (await admin_web.client.get(path)).headers["ETag"]

    first = await admin_web.client.put(path, json=EDITOR, headers={"If-Match": read})
    second = await admin_web.client.put(
        path, json=EDITOR | {"permissions": ["GET:/**"]}, headers={"If-Match": read}
    )

    assert first.status_code == 200
    assert (second.status_code, second.json()["error"]) == (412, "platform.precondition_failed")
    present = await admin_web.client.get(path)
    assert present.json()["data"] == first.json()["data"]
    assert present.headers["ETag"] == first.headers["ETag"] != read


async def test_a_role_is_not_replaced_by_who_does_not_say_which_version(admin_web: Web) -> None:
    path = (await paths(admin_web))["role"]

    response = await admin_web.client.put(path, json=EDITOR)

    assert (response.status_code, response.json()["error"]) == (428, "http.precondition_required")
    assert "If-Match" in response.json()["detail"]


@pytest.mark.parametrize(
    ("kind", "method", "body"),
    [
        ("role", "PUT", EDITOR),
        ("role", "DELETE", None),
        ("user", "PATCH", {"name": "Ada King"}),
        ("user", "DELETE", None),
        ("task", "PUT", None),
        ("task", "PATCH", {"enabled": False}),
        ("task", "DELETE", None),
    ],
)
async def test_a_change_is_for_the_version_it_names(
    admin_web: Web, kind: str, method: str, body: dict[str, object] | None
) -> None:
    path = (await paths(admin_web))[kind]
    before = await admin_web.client.get(path)
    if method == "PUT" and kind == "task":
        shown = before.json()["data"]
        body = {name: shown[name] for name in ("name", "task", "kind", "schedule")}

    stale = await admin_web.client.request(method, path, json=body, headers={"If-Match": STALE})
    assert stale.status_code == 412
    assert (await admin_web.client.get(path)).json()["data"] == before.json()["data"]

    right = {"If-Match": before.headers["ETag"]}
    assert (await admin_web.client.request(method, path, json=body, headers=right)).is_success


@pytest.mark.parametrize("quoted", ['"1", {tag}', "{tag} ,\t{tag}", "*", " * "])
async def test_any_of_several_versions_will_do(admin_web: Web, quoted: str) -> None:
    path = (await paths(admin_web))["role"]
    tag = (await admin_web.client.get(path)).headers["ETag"]

    response = await admin_web.client.put(
        path, json=EDITOR, headers={"If-Match": quoted.format(tag=tag)}
    )

    assert response.status_code == 200


@pytest.mark.parametrize("quoted", ["W/{tag}", '"1"', '""', '"ABC"', f'"{"f" * 14}"'])
async def test_weak_foreign_and_absurd_versions_match_nothing(admin_web: Web, quoted: str) -> None:
    path = (await paths(admin_web))["role"]
    tag = (await admin_web.client.get(path)).headers["ETag"]

    response = await admin_web.client.put(
        path, json=EDITOR, headers={"If-Match": quoted.format(tag=tag)}
    )

    assert response.status_code == 412


@pytest.mark.parametrize("text", ["", "1", '"1', '"1" "2"', '"a" W/b', "*, *", '"\x7f"'])
async def test_a_value_that_is_no_list_of_versions_is_malformed(admin_web: Web, text: str) -> None:
    path = (await paths(admin_web))["role"]

    response = await admin_web.client.put(path, json=EDITOR, headers={"If-Match": text})

    assert (response.status_code, response.json()["error"]) == (400, "http.malformed")


async def test_a_change_in_the_same_tick_of_the_clock_is_another_version(admin_web: Web) -> None:
    path = (await paths(admin_web))["user"]

    tags = [(await admin_web.client.get(path)).headers["ETag"]]
    for name in ("Ada King", "Ada Byron"):
        response = await admin_web.client.patch(path, json={"name": name})
        tags.append(response.headers["ETag"])

    assert len(set(tags)) == 3


async def test_a_clock_that_is_set_back_makes_no_old_version_again(admin_web: Web) -> None:
    path = (await paths(admin_web))["user"]
    first = (await admin_web.client.get(path)).headers["ETag"]
    await admin_web.world.pass_time(seconds=-10)

    second = (await admin_web.client.patch(path, json={"name": "Ada King"})).headers["ETag"]

    assert second > first


def test_every_change_by_id_takes_a_version() -> None:
    without = {
        f"{method.upper()} {path}"
        for path, methods in description()["paths"].items()
        for method, operation in methods.items()
        if method in {"put", "patch", "delete"}
        and path.endswith("}")
        and "412" not in operation["responses"]
    }

    # Sessions, rooms, memberships, connections and files do not change: they are there or not.
    assert without == {
        "DELETE /api/v1/files/{file_id}",
        "DELETE /api/v1/users/{user_id}/files/{file_id}",
        "DELETE /api/v1/auth/sessions/{session_id}",
        "DELETE /api/v1/users/{user_id}/sessions/{session_id}",
        "DELETE /api/v1/rooms/{room_id}",
        "DELETE /api/v1/rooms/{room_id}/members/{user_id}",
        "DELETE /api/v1/realtime/connections/{sid}",
        "PUT /api/v1/rooms/{room_id}/members/{user_id}",
    }


async def test_a_created_resource_is_at_its_location(admin_web: Web) -> None:
    response = await admin_web.client.post("/api/v1/roles", json=EDITOR)

    shown = await admin_web.client.get(response.headers["Location"])
    assert shown.json()["data"] == response.json()["data"]
    assert shown.headers["ETag"] == response.headers["ETag"]


def test_browsers_may_read_and_send_versions() -> None:
    settings = HttpSettings(cors=CorsSettings(origins=("https://app.example.org",)))
    layers = described_app(settings, debug=False).user_middleware
    (cors,) = (str(layer.kwargs) for layer in layers if "allow_headers" in layer.kwargs)

    for name in ("If-Match", "ETag", "Location"):
        assert f"'{name}'" in cors
