"""Access in four API processes that share servers: what is changed through one of them is in force in all of them."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from secrets import token_hex
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import BaseSchema, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.fleet import ADMINISTRATOR, PASSWORD, Fleet, fleet, log_in, made, sealed
from tests.support.plain_http import NO_TLS
from tests.support.servers import Servers
from tests.support.web import description

pytestmark = pytest.mark.server

SUBJECTS = 4
TOGGLES_OF_EACH = 130
READ = "GET:/api/v1/roles/{role_id}"


@pytest.fixture(scope="module")
def processes(
    servers: Servers, worker: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    with fleet(servers, tmp_path_factory.mktemp("fleet"), size=4, worker=worker) as processes:
        yield processes


@pytest.fixture
async def clients(processes: Fleet) -> AsyncIterator[Sequence[httpx.AsyncClient]]:
    """Return a client of each process."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, verify=NO_TLS, timeout=30)
            )
            for url in processes.urls
        ]


@dataclass(slots=True, kw_only=True)
class Subject:
    """A user with a role of their own that opens one route, and what was made of both so far."""

    name: str
    clients: Sequence[httpx.AsyncClient]
    administrator: dict[str, str]
    user_path: str
    role_path: str
    bearer: dict[str, str]
    grants: bool = True
    role_is_active: bool = True
    has_role: bool = True
    is_active: bool = True

    @classmethod
    async def make(
        cls, name: str, clients: Sequence[httpx.AsyncClient], administrator: dict[str, str]
    ) -> "Subject":
        client = clients[0]
        role = {"code": name, "name": f"Role {name}", "permissions": [READ]}
        role_id = (
            await made(await client.post("/api/v1/roles", json=role, headers=administrator))
        )["id"]
        user = {
            "username": name,
            "email": f"{name}@example.org",
            "name": name,
            "password": sealed(PASSWORD),
            "roles": [name],
        }
        user_id = (
            await made(await client.post("/api/v1/users", json=user, headers=administrator))
        )["id"]
        return cls(
            name=name,
            clients=clients,
            administrator=administrator,
            user_path=f"/api/v1/users/{user_id}",
            role_path=f"/api/v1/roles/{role_id}",
            bearer=await log_in(client, name),
        )

    @property
    def expected(self) -> int:
        """The status of a request that sees everything that was made of them."""
        if not self.is_active:
            return 401
        return 200 if self.grants and self.role_is_active and self.has_role else 403

    async def toggle(self, what: str, through: httpx.AsyncClient) -> None:
        """Change one thing to what it was not."""
        setattr(self, what, not getattr(self, what))
        if what in {"grants", "role_is_active"}:
            body: dict[str, Any] = {
                "code": self.name,
                "name": f"Role {self.name}",
                "status": "active" if self.role_is_active else "disabled",
                "permissions": [READ] if self.grants else [],
            }
            headers = self.administrator | {"If-Match": "*"}
            await made(await through.put(self.role_path, json=body, headers=headers))
        else:
            body = (
                {"roles": [self.name] if self.has_role else []}
                if what == "has_role"
                else {"status": "active" if self.is_active else "disabled"}
            )
            await made(await through.patch(self.user_path, json=body, headers=self.administrator))
        if what == "is_active" and self.is_active:
            self.bearer = await log_in(through, self.name)

    async def ids(self) -> dict[str, str]:
        """Return the ids of what belongs to them, by the names that paths have for them."""
        sessions = await made(
            await self.clients[0].get(f"{self.user_path}/sessions", headers=self.administrator)
        )
        return {
            "user_id": self.user_path.rpartition("/")[2],
            "role_id": self.role_path.rpartition("/")[2],
            "session_id": sessions[0]["id"],
        }

    async def statuses(self) -> list[int]:
        """Make one request on each process."""
        responses = await asyncio.gather(
            *(client.get(self.role_path, headers=self.bearer) for client in self.clients)
        )
        return [response.status_code for response in responses]


async def test_500_changes_are_in_force_at_the_next_request_on_each_of_4_processes(
    processes: Fleet, clients: Sequence[httpx.AsyncClient]
) -> None:
    """Several users and roles are changed at once, each by one thing at a time."""
    administrator = await log_in(clients[0], ADMINISTRATOR)
    subjects = [
        await Subject.make(f"subject-{number}", clients, administrator)
        for number in range(SUBJECTS)
    ]
    answers = Counter[tuple[str, int, int]]()

    async def change(subject: Subject, random: Random) -> None:
        for _ in range(TOGGLES_OF_EACH):
            what = random.choice(["grants", "role_is_active", "has_role", "is_active"])
            await subject.toggle(what, through=random.choice(clients))
            for status in await subject.statuses():
                answers[what, subject.expected, status] += 1

    await asyncio.gather(
        *(change(subject, Random(subject.name)) for subject in subjects)  # noqa: S311 - repeatable
    )

    assert sum(answers.values()) == SUBJECTS * TOGGLES_OF_EACH * len(clients)
    assert {what for what, _, _ in answers} == {"grants", "role_is_active", "has_role", "is_active"}
    assert {expected for _, expected, _ in answers} == {200, 401, 403}
    assert [key for key in answers if key[1] != key[2]] == []
    assert processes.remembered() >= SUBJECTS


# --- any request --------------------------------------------------------------------------------

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
IDS_OF_SUBJECTS = {"user_id", "role_id", "session_id"}
OPERATIONS = [
    (method.upper(), path) for path, methods in description()["paths"].items() for method in methods
]


@pytest.fixture(scope="module")
def schema(processes: Fleet) -> BaseSchema:
    """Return what a running process says about itself."""
    return schemathesis.openapi.from_url(f"{processes.urls[0]}/openapi.json")


@pytest.mark.parametrize("caller", ["nobody", "a user", "an administrator"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)
async def test_any_request_gets_a_response_that_openapi_describes(
    clients: Sequence[httpx.AsyncClient], schema: BaseSchema, method: str, path: str, caller: str
) -> None:
    """Allowed and not allowed by the description, about things that exist and things that do not."""
    names = IDS_OF_SUBJECTS.intersection(re.findall(r"{(\w+)}", path))
    anonymous = dict[str, str]()
    administrator = user = anonymous
    existing = dict[str, str]()
    if names or caller != "nobody":
        administrator = await log_in(clients[0], ADMINISTRATOR)
    if names or caller == "a user":
        subject = await Subject.make(f"s-{token_hex(8)}", clients, administrator)
        user = subject.bearer
        existing = {name: value for name, value in (await subject.ids()).items() if name in names}
    headers = {"nobody": anonymous, "a user": user, "an administrator": administrator}[caller]
    operation = schema[path][method]
    cases = [
        operation.as_strategy(mode, path_parameters=path_parameters)
        for mode in GenerationMode
        for path_parameters in ([existing, {}] if existing else [{}])
    ]

    @settings(
        max_examples=10,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(cases))
    def send(case: Case[Any]) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)

    await asyncio.to_thread(send)
