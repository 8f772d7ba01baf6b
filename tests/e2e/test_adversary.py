"""People who want more than they have, and know the API, against two processes that share servers."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import httpx
import pytest

from tests.e2e.fleet import ADMINISTRATOR, PASSWORD, Fleet, fleet, log_in, made, sealed
from tests.support.plain_http import NO_TLS
from tests.support.servers import Servers

pytestmark = pytest.mark.server

USERS, ROLES = "/api/v1/users", "/api/v1/roles"
USER_MANAGER = ["*:/api/v1/users", "*:/api/v1/users/**", "GET:/api/v1/roles/**"]
ROLE_MANAGER = ["*:/api/v1/roles", "*:/api/v1/roles/**", "GET:/api/v1/users/**"]
AUDITOR = ["GET:/api/v1/audit"]

Headers = Mapping[str, str]


@pytest.fixture(scope="module")
def processes(
    servers: Servers, worker: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    with fleet(servers, tmp_path_factory.mktemp("fleet"), size=2, worker=worker) as processes:
        yield processes


@dataclass(slots=True)
class Company:
    """Its administrator, and how to reach its processes in turn."""

    clients: Sequence[httpx.AsyncClient]
    administrator: Headers
    _round_robin: Iterator[httpx.AsyncClient] = field(init=False)

    def __post_init__(self) -> None:
        self._round_robin = itertools.cycle(self.clients)

    async def ask(
        self, who: Headers, method: str, path: str, body: object = None, **query: str | int
    ) -> httpx.Response:
        """Send a request through the next process; a PUT is meant for any version."""
        headers = {**who, "If-Match": "*"} if method == "PUT" else who
        return await next(self._round_robin).request(
            method, path, json=body, params=httpx.QueryParams(query), headers=headers
        )

    async def role(self, *permissions: str, **more: object) -> dict[str, Any]:
        """Make a role."""
        code = f"r-{token_hex(6)}"
        body = {"code": code, "name": code, "permissions": permissions, **more}
        role: dict[str, Any] = await made(await self.ask(self.administrator, "POST", ROLES, body))
        return role

    async def user(self, *roles: str, **more: object) -> dict[str, Any]:
        """Make a user whose password is `PASSWORD`."""
        name = f"u-{token_hex(6)}"
        body = {
            "username": name,
            "email": f"{name}@example.org",
            "name": name,
            "roles": roles,
            "password": sealed(PASSWORD),
            **more,
        }
        user: dict[str, Any] = await made(await self.ask(self.administrator, "POST", USERS, body))
        return user

    async def somebody(self, *permissions: str) -> tuple[dict[str, Any], Headers]:
        """Make a user with a role that gives these permissions, and log them in."""
        user = await self.user((await self.role(*permissions))["code"])
        return user, await self.log_in(user)

    async def log_in(self, user: Mapping[str, Any]) -> Headers:
        return await log_in(next(self._round_robin), str(user["username"]))

    async def entries(self, **which: str) -> list[dict[str, Any]]:
        """Return the newest 100 entries of the audit log, once nothing new arrives."""
        before: list[dict[str, Any]] = []
        while True:
            await asyncio.sleep(0.5)
            found = await made(
                await self.ask(self.administrator, "GET", "/api/v1/audit", pageSize=100, **which)
            )
            if before and found["records"] == before:
                return before
            before = found["records"]


@pytest.fixture
async def company(processes: Fleet) -> AsyncIterator[Company]:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, verify=NO_TLS, timeout=30)
            )
            for url in processes.urls
        ]
        yield Company(clients, await log_in(clients[0], ADMINISTRATOR))


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, str(response.json().get("error"))


BEYOND = (403, "access.beyond_own_access")


# --- roles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grant",
    [
        *("*:**", "GET:**", "*:/**", "*:/api/**", "*:/*/**", "*:/api/v1/**", "*:/api/v1/*"),
        *("*:/api/v1/*/**", "*:/api/*/roles", "*:/*/*/roles", "*:/*/*/roles/**", "POST:/api/v1/*"),
        *("POST:/api/v1/users", "PATCH:/api/v1/users/{user_id}", "PATCH:/api/v1/users/*"),
        *("*:/api/v1/users/**", "*:/api/v1/roles{user_id}"),
    ],
)
async def test_no_pattern_gets_a_role_manager_beyond_what_they_hold(
    company: Company, grant: str
) -> None:
    _, mallory = await company.somebody(*ROLE_MANAGER)
    spare = await company.role()
    code = f"r-{token_hex(6)}"
    body = {"code": code, "name": code, "permissions": [grant]}

    for answer in (
        await company.ask(mallory, "POST", ROLES, body),
        await company.ask(mallory, "POST", ROLES, body | {"status": "disabled"}),
        await company.ask(mallory, "PUT", f"{ROLES}/{spare['id']}", body),
    ):
        assert error_of(answer) == BEYOND


async def test_a_role_manager_changes_no_role_that_gives_more_or_that_they_have(
    company: Company,
) -> None:
    own = await company.role(*ROLE_MANAGER)
    mallory = await company.log_in(await company.user(own["code"]))
    for role, error in (
        (own, (403, "access.own_access")),
        (await company.role(*USER_MANAGER), BEYOND),
        (await company.role(*USER_MANAGER, status="disabled"), BEYOND),
        (await company.role(buttonPermissions=["pay"]), BEYOND),
        (await company.role(routerPermissions=["/pay"]), BEYOND),
    ):
        path, empty = f"{ROLES}/{role['id']}", {"code": role["code"], "name": role["name"]}
        same = {k: v for k, v in role.items() if k not in {"id", "createdAt", "updatedAt"}}
        both = [role["id"], (await company.role())["id"]]
        for answer in (
            await company.ask(mallory, "PUT", path, empty),
            await company.ask(mallory, "PUT", path, same | {"status": "active"}),
            await company.ask(mallory, "DELETE", path, force="true"),
            await company.ask(mallory, "DELETE", ROLES, {"ids": both, "force": True}),
        ):
            assert error_of(answer) == error
        assert await made(await company.ask(mallory, "GET", path)) == role
        assert (await company.ask(mallory, "GET", f"{ROLES}/{both[1]}")).status_code == 200


# --- users --------------------------------------------------------------------------------------


async def test_a_user_manager_cannot_change_a_user_who_may_do_more(company: Company) -> None:
    _, mallory = await company.somebody(*USER_MANAGER)
    disabled_role = await company.role(*AUDITOR, status="disabled")
    victims = [
        await company.user(isAdmin=True),
        await company.user(isAdmin=True, status="disabled"),
        (await company.somebody(*ROLE_MANAGER))[0],
        await company.user((await company.role(*AUDITOR))["code"], status="disabled"),
        await company.user(disabled_role["code"]),
        await company.user((await company.role(buttonPermissions=["pay"]))["code"]),
    ]
    for victim in victims:
        path = f"{USERS}/{victim['id']}"
        before = await made(await company.ask(company.administrator, "GET", path))
        for method, where, body in (
            ("PATCH", path, {"email": f"{token_hex(6)}@evil.example"}),
            ("PATCH", path, {"isAdmin": False}),
            ("PATCH", path, {"status": "disabled"}),
            ("PATCH", path, {"status": "active"}),
            ("PATCH", path, {"roles": []}),
            ("PATCH", path, {}),
            ("DELETE", path, None),
            ("POST", f"{path}/password", None),
            ("GET", f"{path}/sessions", None),
            ("DELETE", f"{path}/sessions", None),
            ("DELETE", f"{path}/sessions/{victim['id']}", None),
        ):
            assert error_of(await company.ask(mallory, method, where, body)) == BEYOND
        assert await made(await company.ask(company.administrator, "GET", path)) == before


async def test_a_user_manager_cannot_create_a_user_who_may_do_more(company: Company) -> None:
    me, mallory = await company.somebody(*USER_MANAGER)
    puppet = await company.user()
    path = f"{USERS}/{puppet['id']}"
    for role in (
        await company.role("*:**"),
        await company.role(*ROLE_MANAGER, status="disabled"),
        await company.role("GET:/api/v1/**"),
        await company.role(buttonPermissions=["pay"]),
    ):
        name = f"u-{token_hex(6)}"
        new = {"username": name, "email": f"{name}@example.org", "name": name}
        for answer in (
            await company.ask(mallory, "POST", USERS, new | {"roles": [role["code"]]}),
            await company.ask(mallory, "POST", USERS, new | {"isAdmin": True}),
            await company.ask(mallory, "PATCH", path, {"roles": [role["code"]]}),
            await company.ask(mallory, "PATCH", path, {"isAdmin": True}),
            await company.ask(mallory, "PATCH", path, {"isAdmin": True, "status": "disabled"}),
            await company.ask(mallory, "PATCH", f"{USERS}/{me['id']}", {"isAdmin": True}),
        ):
            assert error_of(answer) == BEYOND
        own = await company.ask(
            mallory, "PATCH", f"{USERS}/{me['id']}", {"roles": [*me["roles"], role["code"]]}
        )
        assert error_of(own) == (403, "access.own_access")


async def test_everything_but_administration_is_not_administration(company: Company) -> None:
    _, mallory = await company.somebody("*:**")
    admin = await company.user(isAdmin=True)

    for answer in (
        await company.ask(mallory, "PATCH", f"{USERS}/{admin['id']}", {"isAdmin": False}),
        await company.ask(mallory, "POST", f"{USERS}/{admin['id']}/password"),
        await company.ask(mallory, "DELETE", f"{USERS}/{admin['id']}"),
    ):
        assert error_of(answer) == BEYOND


# --- those who were somebody ----------------------------------------------------------------------


async def test_a_demoted_administrator_and_a_disabled_user_can_do_nothing_more_anywhere(
    company: Company,
) -> None:
    demoted, disabled = await company.user(isAdmin=True), await company.user(isAdmin=True)
    tokens = [await company.log_in(demoted), await company.log_in(disabled)]
    for who in tokens * 2:
        assert (await company.ask(who, "GET", USERS)).status_code == 200

    await made(
        await company.ask(tokens[1], "PATCH", f"{USERS}/{demoted['id']}", {"isAdmin": False})
    )
    await made(
        await company.ask(
            company.administrator, "PATCH", f"{USERS}/{disabled['id']}", {"status": "disabled"}
        )
    )

    for _ in company.clients:
        mine = f"{USERS}/{demoted['id']}"
        assert (await company.ask(tokens[0], "GET", USERS)).status_code == 403
        assert (await company.ask(tokens[0], "PATCH", mine, {"isAdmin": True})).status_code == 403
        assert (await company.ask(tokens[1], "GET", "/api/v1/roles/mine")).status_code == 401


async def test_administrators_who_all_demote_each_other_at_once_leave_one(company: Company) -> None:
    admins = [await company.user(isAdmin=True) for _ in range(4)]
    tokens = [await company.log_in(admin) for admin in admins]
    first = await made(await company.ask(company.administrator, "GET", "/api/v1/auth/user/info"))
    changes = ({"isAdmin": False}, {"status": "disabled"})
    others = await made(
        await company.ask(company.administrator, "GET", USERS, pageSize=100, status="active")
    )
    for other in others["records"]:  # those whom other tests have left
        if other["isAdmin"] and other["id"] not in {first["id"], *(a["id"] for a in admins)}:
            await made(
                await company.ask(
                    company.administrator, "PATCH", f"{USERS}/{other['id']}", changes[0]
                )
            )

    for attempt in range(3):
        await asyncio.gather(
            *(
                company.ask(who, "PATCH", f"{USERS}/{victim}", changes[(n + attempt) % 2])
                for who in tokens
                for n, victim in enumerate([first["id"], *(admin["id"] for admin in admins)])
            ),
            *(company.ask(who, "DELETE", f"{USERS}/{first['id']}") for who in tokens),
        )

    working = [
        who
        for who in [company.administrator, *tokens]
        if (await company.ask(who, "GET", "/api/v1/audit", pageSize=1)).status_code == 200
    ]
    assert len(working) == 1
    # And that one makes the first administrator what they were, for the tests that follow.
    name = {"username": ADMINISTRATOR, "email": "admin@portico.local", "name": "Administrator"}
    again = {"isAdmin": True, "status": "active"}
    response = await company.ask(working[0], "PATCH", f"{USERS}/{first['id']}", again)
    if response.status_code == 404:
        body = {**name, "isAdmin": True, "password": sealed(PASSWORD)}
        await made(await company.ask(working[0], "POST", USERS, body))


async def test_a_one_time_password_opens_no_closed_door(company: Company) -> None:
    user = await company.user(isAdmin=True)
    token = await company.log_in(user)
    await made(await company.ask(company.administrator, "POST", f"{USERS}/{user['id']}/password"))

    assert (await company.ask(token, "GET", USERS)).status_code == 401


# --- ids and texts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("%00", "%F0%9F%92%A5", "..%2F..%2Faudit", "%2e%2e", "1", "null", "*", "x" * 4000),
        *("{user_id}", "%ff", "%0d%0aSet-Cookie:a=b", "0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b2"),
    ],
)
async def test_no_text_in_the_place_of_an_id_is_more_than_a_mistake(
    company: Company, text: str
) -> None:
    for method, path, body in (
        ("GET", f"{USERS}/{text}", None),
        ("PATCH", f"{USERS}/{text}", {"name": "x y"}),
        ("DELETE", f"{USERS}/{text}/sessions/{text}", None),
        ("GET", f"{ROLES}/{text}/users", None),
        ("DELETE", ROLES, {"ids": [text]}),
    ):
        answer = await company.ask(company.administrator, method, path, body)
        assert answer.status_code in {404, 405, 422}, (method, path, answer.text)


# --- what is left behind ------------------------------------------------------------------------


async def test_everything_that_was_done_is_in_the_audit_log_once_with_who_did_it(
    company: Company,
) -> None:
    me, boss = await company.somebody("*:**")
    done = Counter[str]()

    async def do(
        action: str, method: str, path: str, body: object = None, **query: str | int
    ) -> Any:
        answer = await made(await company.ask(boss, method, path, body, **query))
        done[action] += 1
        return answer

    name = f"u-{token_hex(6)}"
    new = {"username": name, "email": f"{name}@example.org", "name": name}
    role = await do("roles.created", "POST", ROLES, {"code": f"r-{name}", "name": name})
    code = {"code": role["code"]}
    await do("roles.replaced", "PUT", f"{ROLES}/{role['id']}", code | {"name": f"{name} 2"})
    user = await do("users.created", "POST", USERS, new | {"password": sealed(PASSWORD)})
    path = f"{USERS}/{user['id']}"
    await do("users.changed", "PATCH", path, {"roles": [role["code"]]})
    token = await company.log_in(user)
    await company.log_in(user)
    (session, *_) = await made(await company.ask(boss, "GET", f"{path}/sessions"))
    await do("sessions.ended", "DELETE", f"{path}/sessions/{session['id']}")
    await do("sessions.ended", "DELETE", f"{path}/sessions")
    assert (await company.ask(token, "GET", f"{ROLES}/mine")).status_code == 401
    await do("users.changed", "PATCH", path, {"status": "disabled"})
    await do("users.password_reset", "POST", f"{path}/password")
    await do("roles.deleted", "DELETE", f"{ROLES}/{role['id']}", force="true")
    await do("users.deleted", "DELETE", path)
    await do("users.profile_changed", "PATCH", "/api/v1/auth/user/info", {"name": "The Boss"})
    for nothing in ({}, {"name": "The Boss"}, {"status": "active"}):
        await made(await company.ask(boss, "PATCH", f"{USERS}/{me['id']}", nothing))
    wrong = {"oldPassword": sealed("wrong"), "newPassword": sealed("a quite new password")}
    assert (await company.ask(boss, "POST", "/api/v1/auth/password", wrong)).status_code == 422
    done["users.password_change_failed"] += 1
    await do("sessions.logged_out_everywhere", "POST", "/api/v1/auth/logout/all")
    done["sessions.logged_in"] += 1

    entries = await company.entries(actor=me["id"])
    assert Counter(entry["action"] for entry in entries) == done
    assert all(entry["address"] and entry["requestId"] for entry in entries)
    assert PASSWORD not in str(entries)
    about_them = await company.entries(target=f"user:{user['id']}")
    assert {e["action"] for e in about_them} == {
        *("users.created", "users.changed", "users.password_reset", "users.deleted"),
        *("sessions.logged_in", "sessions.ended"),
    }
