"""Every route of OpenAPI against every kind of caller, and with every kind of mistake in a request.

The list is not typed: a new route is in it, and a new parameter of a query must be in the table below.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from pydantic.alias_generators import to_camel

from domain.connections import Connection
from domain.files.files import File
from domain.identity import User
from domain.roles import Role
from domain.rooms import Person, Room, RoomKind
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.task_runs import Run, RunId, RunState
from domain.sequences import SequenceKey, SequenceName
from tests.support.builders import a_connection, a_file, a_periodic_task, a_role, a_room, a_user
from tests.support.web import Web, description
from tests.support.world import PHONE

NOTHING = UUID(int=0)
SEQUENCE = SequenceKey(SequenceName("orders"), {"shop": "456"})


@dataclass(frozen=True, slots=True)
class Operation:
    """What OpenAPI says of a method and a path."""

    method: str
    path: str
    described: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def permission(self) -> str | None:
        """The permission that it needs; None if it needs none but a session."""
        permission: str | None = self.described.get("x-permission")
        return permission

    @property
    def body(self) -> dict[str, Any] | None:
        """The example of its body."""
        content = self.described.get("requestBody", {}).get("content", {})
        example: dict[str, Any] | None = content.get("application/json", {}).get("example")
        return example

    def parameters(self, kind: str) -> list[str]:
        """Return the names of its parameters in the `path` or the `query`."""
        return [p["name"] for p in self.described.get("parameters", ()) if p["in"] == kind]


def operations() -> Iterator[Operation]:
    for path, methods in description()["paths"].items():
        for method, described in methods.items():
            yield Operation(method.upper(), path, described)


# A refresh token logs out too, and so does an expired access token.
CLOSED = [
    operation
    for operation in operations()
    if {"accessToken": []} in operation.described["security"]
    and {"refreshToken": []} not in operation.described["security"]
]
GUARDED = [operation for operation in CLOSED if operation.permission is not None]

every_closed_route = pytest.mark.parametrize("operation", CLOSED, ids=str)
every_guarded_route = pytest.mark.parametrize("operation", GUARDED, ids=str)


@dataclass(frozen=True, slots=True)
class Scene:
    """What requests are about: a user `ben` with a role and a session, a spare role, a periodic task, a run, a room."""

    web: Web
    ben: User
    spare: Role
    bens_session: UUID
    task: PeriodicTask
    run: Run
    room: Room
    connection: Connection
    file: File

    async def caller(self, *roles: Role, is_admin: bool = False) -> dict[str, str]:
        """Return the headers of somebody who has logged in, and owns the room from now on."""
        user = a_user(is_admin=is_admin)
        for role in roles:  # what the samples of roles give, so that the ceiling is no obstacle
            role.buttons, role.routers = frozenset({"user.create"}), frozenset({"/users"})
        await self.web.world.given(user, *roles)
        await self.web.world.given_room(replace(self.room, owner=user.id), self.ben)
        return await self.web.bearer(user)

    async def send(self, operation: Operation, headers: Mapping[str, str]) -> httpx.Response:
        """Send what the operation expects, about things that exist."""
        body = operation.body and self.acceptable(operation)
        return await self.web.client.request(
            operation.method, self.path_of(operation), json=body, headers=headers
        )

    def acceptable(self, operation: Operation) -> dict[str, Any]:
        """Return the example of a body, but about things that exist."""
        of_tasks = "periodic-tasks" in operation.path
        about = {
            "ids": [str(self.task.id if of_tasks else self.spare.id)],
            "roles": [self.spare.code.value],
            "permissions": [],
            "password": None,
            "kid": None,
        }
        return {name: about.get(name, value) for name, value in (operation.body or {}).items()}

    def path_of(self, operation: Operation, **ids: object) -> str:
        """Return the path of things that exist, or of those that are given."""
        existing = {
            "user_id": self.ben.id,
            "role_id": self.spare.id,
            "session_id": self.bens_session,
            "task_id": self.task.id,
            "run_id": self.run.id,
            "name": SEQUENCE.name.value,
            "room_id": self.room.id,
            "sid": self.connection.id,
            "file_id": self.file.id,
        }
        return operation.path.format_map(existing | ids)


@pytest.fixture
async def scene(web: Web) -> Scene:
    ben = await web.world.given(a_user(username="ben.turing"), a_role())
    web.client.headers["If-Match"] = "*"  # any version
    spare = await web.world.given_role(a_role(code="spare"))
    caller, _ = await web.world.log_in_as(ben, PHONE)
    task = await web.world.given_task(a_periodic_task())
    run = Run(
        id=RunId(UUID(int=1)),
        task_id=task.id,
        scheduled_for=web.world.clock.now(),
        state=RunState.REQUESTED,
        requested=True,
    )
    web.world.store.runs[run.id] = run
    for key in (SEQUENCE, SequenceKey(SEQUENCE.name)):
        await web.world.container.sequences().next(key)
    room = a_room(kind=RoomKind.PRIVATE)
    connection = a_connection(Person(id=ben.id, name=ben.name.value))
    registry = web.world.container.connection_registry()
    await registry.open(connection, most=1, lease=timedelta(seconds=15))
    file = a_file(ben.id)
    file.store("etag", at=web.world.clock.now())
    web.world.store.rows(File)[file.id] = file
    return Scene(web, ben, spare, caller.session_id, task, run, room, connection, file)


def test_the_list_has_every_kind_of_route() -> None:
    assert len(GUARDED) >= 31
    assert len(CLOSED) - len(GUARDED) >= 8
    assert {operation.permission for operation in GUARDED} == {
        f"{operation.method}:{operation.path}" for operation in GUARDED
    }


# --- callers ------------------------------------------------------------------------------------


@every_closed_route
async def test_a_request_without_a_token_is_refused(scene: Scene, operation: Operation) -> None:
    response = await scene.send(operation, {})

    assert response.status_code == 401


@every_closed_route
async def test_a_user_without_roles_may_use_only_what_is_documented_as_needing_a_session(
    scene: Scene, operation: Operation
) -> None:
    response = await scene.send(operation, await scene.caller())

    if operation.permission is None:
        assert response.status_code not in {401, 403}
    else:
        assert response.status_code == 403
        assert response.json()["error"] == "access.permission_denied"
        assert operation.permission in response.json()["detail"]


@every_guarded_route
async def test_the_permission_of_a_route_opens_it(scene: Scene, operation: Operation) -> None:
    response = await scene.send(operation, await scene.caller(a_role(str(operation.permission))))

    assert response.is_success, response.text


@every_guarded_route
async def test_the_permissions_of_all_other_routes_together_do_not_open_a_route(
    scene: Scene, operation: Operation
) -> None:
    others = {str(o.permission) for o in GUARDED} - {str(operation.permission)}

    response = await scene.send(operation, await scene.caller(a_role(*others)))

    assert response.status_code == 403
    assert response.json()["error"] == "access.permission_denied"


@every_guarded_route
async def test_a_pattern_that_covers_a_route_opens_it(scene: Scene, operation: Operation) -> None:
    pattern = f"{operation.method}:/api/v1/**"

    response = await scene.send(operation, await scene.caller(a_role(pattern)))

    assert response.is_success, response.text


@every_guarded_route
async def test_an_administrator_may_use_every_route(scene: Scene, operation: Operation) -> None:
    response = await scene.send(operation, await scene.caller(is_admin=True))

    assert response.is_success, response.text


@every_guarded_route
async def test_an_unauthorized_caller_learns_no_errors_of_the_request(
    scene: Scene, operation: Operation
) -> None:
    path = scene.path_of(
        operation,
        user_id="x",
        role_id="x",
        session_id="x",
        task_id="x",
        run_id="x",
        room_id="x",
        file_id="x",
    )

    response = await scene.web.client.request(
        operation.method, path, json={"unknown": 1}, headers=await scene.caller()
    )

    assert response.status_code == 403


# --- what is wrong with a query -----------------------------------------------------------------

TOO_LONG = "x" * 10_240
BAD = {
    "page": ["0", "-1", str(2**63), "9" * 5000, "1.0", "1_0", "+1", " 1", "\u0661", "x", ""],
    "pageSize": ["0", "-1", "101", str(2**63), "1.0", "1_0", "+1", "1 ", "\uff11", "x"],
    "keyword": ["\0", TOO_LONG],
    "status": ["unknown", "ACTIVE", "\0", ""],
    "role": ["Unknown!", "\0", TOO_LONG],
    "force": ["perhaps", "1", "yes", "on", "True", "", "\0"],
    "cursor": ["x", "-1", "1-2", f"{'9' * 30}-{NOTHING}", f"1-{NOTHING}0", "\0", TOO_LONG],
    "user": ["me", "\0", f"{NOTHING}0"],
    "actor": ["me", "\0", f"{NOTHING}0"],
    "concerned": ["me", "\0", f"{NOTHING}0"],
    "action": ["\0", TOO_LONG],
    "target": ["\0", TOO_LONG],
    "outcome": ["unknown", "\0"],
    "sort": ["unknown", "-", "--name", "name,code", "\0", ""],
    "since": [
        "yesterday",
        "1767225600",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "10000-01-01T00:00:00Z",
        "9" * 400,
        "\0",
    ],
    "until": ["tomorrow", "2026-01-01T00:00:00", "0000-01-01T00:00:00Z", "-" + "9" * 400],
    "task": ["\0", TOO_LONG],
    "kind": ["unknown", "CRONTAB", "\0", ""],
    "state": ["unknown", "FAILED", "\0", ""],
    "taskId": ["x", "\0", f"{NOTHING}0", TOO_LONG],
    "enabled": ["perhaps", "1", "True", "", "\0"],
    "invalid": ["perhaps", "0", "False", "\0"],
    "after": ["-1", str(2**63), "1.0", "+1", "x", ""],
    "before": ["0", "-1", str(2**63), "1.0", "x", ""],
    "limit": ["0", "-1", "101", "1.0", "x", ""],
    "count": ["0", "-1", "101", "1.0", "9" * 5000, "x", ""],
    "condition": ["x", "", "\0:1", "shop:", "shop:\0", f"shop:{TOO_LONG}", f"{TOO_LONG}:1"],
    "disposition": ["unknown", "INLINE", "\0", ""],
    "unknown": ["x"],
}
LITERAL = ("%", "_", "\\", "' OR 1=1 --", "\u202e", "\u0130", "🙂", "a" * 254)
LISTS = [o for o in CLOSED if {"page", "cursor"}.intersection(o.parameters("query"))]


@pytest.mark.parametrize(
    ("operation", "name"),
    [(o, name) for o in CLOSED for name in (*o.parameters("query"), *["unknown"] * (o in LISTS))],
    ids=str,
)
async def test_a_bad_value_in_a_query_is_named_and_refused(
    administrated: Scene, operation: Operation, name: str
) -> None:
    for value in BAD[name]:
        response = await administrated.web.client.request(
            operation.method, administrated.path_of(operation), params={name: value}
        )

        assert response.status_code == 422, value
        assert [error["loc"] for error in response.json()["errors"]] == [["query", name]]


@pytest.mark.parametrize(
    "operation", [o for o in CLOSED if "keyword" in o.parameters("query")], ids=str
)
async def test_a_keyword_is_a_literal(administrated: Scene, operation: Operation) -> None:
    for keyword in LITERAL:
        response = await administrated.web.client.get(operation.path, params={"keyword": keyword})

        assert response.status_code == 200, keyword
        assert response.json()["data"]["records"] == []
        assert response.json()["data"]["total"] == 0


@pytest.fixture
async def administrated(scene: Scene) -> Scene:
    """Return a scene whose client is an administrator's."""
    scene.web.client.headers.update(await scene.caller(is_admin=True))
    return scene


@pytest.mark.parametrize(
    "operation", [o for o in CLOSED if "page" in o.parameters("query")], ids=str
)
async def test_a_page_past_the_end_is_empty_however_far(
    administrated: Scene, operation: Operation
) -> None:
    response = await administrated.web.client.get(
        administrated.path_of(operation), params={"page": 10_000_000, "pageSize": 100}
    )

    assert response.status_code == 200
    assert response.json()["data"]["records"] == []


# --- what is wrong with an id -------------------------------------------------------------------

WITH_IDS = [
    (operation, name)
    for operation in CLOSED
    for name in operation.parameters("path")
    if name.endswith("id")
]
WITH_NAMES = [operation for operation in CLOSED if "name" in operation.parameters("path")]


@pytest.mark.parametrize(("operation", "name"), WITH_IDS, ids=str)
async def test_a_malformed_id_is_refused(
    administrated: Scene, operation: Operation, name: str
) -> None:
    for value in ("x", "\0", "%", str(NOTHING)[:-1], TOO_LONG):
        path = administrated.path_of(operation, **{name: quote(value, safe="")})

        response = await administrated.web.client.request(
            operation.method, path, json=operation.body
        )

        assert response.status_code == 422, value
        assert ["path", to_camel(name)] in [error["loc"] for error in response.json()["errors"]]


@pytest.mark.parametrize(("operation", "name"), WITH_IDS, ids=str)
async def test_the_id_of_nothing_is_not_found(
    administrated: Scene, operation: Operation, name: str
) -> None:
    nothing = "0" * 20 if name == "sid" else NOTHING
    path = administrated.path_of(operation, **{name: nothing})
    body = operation.body and administrated.acceptable(operation)

    response = await administrated.web.client.request(operation.method, path, json=body)

    assert response.status_code == 404


@pytest.mark.parametrize("operation", WITH_NAMES, ids=str)
async def test_a_malformed_name_is_refused(administrated: Scene, operation: Operation) -> None:
    for value in ("\0", "%", "-x", "a b", "\u0130", TOO_LONG):
        path = administrated.path_of(operation, name=quote(value, safe=""))

        response = await administrated.web.client.request(
            operation.method, path, json=operation.body
        )

        assert response.status_code == 422, value
        assert ["path", "name"] in [error["loc"] for error in response.json()["errors"]]


async def test_a_session_of_another_user_is_not_found(scene: Scene) -> None:
    """Neither one's own route nor the route of a third user tells that the session exists."""
    own = f"/api/v1/auth/sessions/{scene.bens_session}"
    administrator = await scene.caller(is_admin=True)
    third = await scene.web.world.given(a_user())
    thirds = f"/api/v1/users/{third.id}/sessions/{scene.bens_session}"

    for path in (own, thirds):
        response = await scene.web.client.delete(path, headers=administrator)
        assert response.status_code == 404
        assert response.json()["error"] == "sessions.session_not_found"
    assert len(await scene.web.world.sessions(scene.ben)) == 1


# --- what is wrong with a body ------------------------------------------------------------------

ODD_VALUES: Sequence[object] = (
    *(None, 1, True, "", "\0", "%", TOO_LONG, {}),
    *([], [None], ["\0"], ["x"], ["x", "x"], [str(NOTHING)] * 2, [str(NOTHING)] * 101),
)
WITH_BODY = [operation for operation in CLOSED if operation.body]


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
async def test_a_body_that_is_no_object_is_refused(
    administrated: Scene, operation: Operation
) -> None:
    for body in ("[]", "null", "1", '""', "{}x", "", "\0"):
        response = await administrated.web.client.request(
            operation.method,
            administrated.path_of(operation),
            content=body,
            headers={"Content-Type": "application/json"},
        )

        assert response.status_code in {400, 422}, body


@pytest.mark.parametrize(
    ("operation", "name"), [(o, name) for o in WITH_BODY for name in o.body or ()], ids=str
)
async def test_no_value_of_a_field_makes_a_route_fail(
    administrated: Scene, operation: Operation, name: str
) -> None:
    acceptable = administrated.acceptable(operation)
    for value in ODD_VALUES:
        response = await administrated.web.client.request(
            operation.method,
            administrated.path_of(operation),
            json={**acceptable, name: value},
        )

        # What was accepted once is taken, or gone.
        assert response.status_code in {200, 201, 404, 409, 422}, value


OF_ANOTHER_TYPE: Mapping[str, Sequence[object]] = {
    "string": [0, 1.5, True, [], {}],
    "boolean": ["true", "yes", "1", 0, 1, 1.0, [], {}],
    "array": ["", "x", 0, True, {}],
    "integer": ["", "x", "1", 1.5, True, [], {}],
    "number": ["", "x", "1", True, [], {}],
    "object": ["", "x", 0, True, []],
}


@pytest.mark.parametrize(
    ("operation", "name"), [(o, name) for o in WITH_BODY for name in o.body or ()], ids=str
)
async def test_a_value_of_one_type_is_not_taken_for_one_of_another(
    administrated: Scene, operation: Operation, name: str
) -> None:
    acceptable = administrated.acceptable(operation)
    for value in OF_ANOTHER_TYPE[type_of(operation, name)]:
        response = await administrated.web.client.request(
            operation.method,
            administrated.path_of(operation),
            json={**acceptable, name: value},
        )

        assert response.status_code == 422, value
        assert response.json()["errors"][0]["loc"][:2] == ["body", name]


def type_of(operation: Operation, name: str) -> str:
    """Return the type that OpenAPI gives a field of the body."""
    body = operation.described["requestBody"]["content"]["application/json"]["schema"]
    return str(resolved(resolved(body, "properties")["properties"][name], "type")["type"])


def resolved(schema: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    """Return what a schema refers to that has a member."""
    while member not in schema:
        reference = schema.get("$ref", "").rpartition("/")[2]
        schemas = description()["components"]["schemas"]
        schema = schemas[reference] if reference else schema["anyOf"][0]
    return schema
