"""Who loses the right to something while it waits does not get it, however long an attacker makes it wait."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from secrets import token_hex

import httpx
import pytest

from tests.e2e.fleet import ADMINISTRATOR, PASSWORD, Fleet, fleet, log_in, made, sealed
from tests.support.servers import Servers

pytestmark = pytest.mark.server

USERS, ROLES = "/api/v1/users", "/api/v1/roles"
GUESSES = 60


@pytest.fixture(scope="module")
def process(
    servers: Servers, worker: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Start one process that hashes so slowly that its queue outlasts the request of an administrator."""
    with fleet(
        servers,
        tmp_path_factory.mktemp("fleet"),
        size=1,
        worker=worker,
        PORTICO_ARGON2_MEMORY_KIB="19456",
        PORTICO_ARGON2_TIME_COST="8",
    ) as process:
        yield process


@pytest.fixture
async def client(process: Fleet) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=GUESSES + 10)
    async with httpx.AsyncClient(base_url=process.urls[0], timeout=60, limits=limits) as client:
        yield client


def a_user(**more: object) -> dict[str, object]:
    name = f"u-{token_hex(6)}"
    return {"username": name, "email": f"{name}@example.org", "name": name, **more}


async def flooded(client: httpx.AsyncClient) -> list[asyncio.Task[httpx.Response]]:
    """Fill the queue of hashes with log-ins of unknown names; return as soon as they are on their way."""

    async def guess() -> httpx.Response:
        body = {"username": f"nobody-{token_hex(6)}", "password": sealed(PASSWORD)}
        return await client.post("/api/v1/auth/login", json=body)

    guesses = [asyncio.create_task(guess()) for _ in range(GUESSES)]
    await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
    return guesses


async def test_a_user_disabled_while_hashes_are_queued_makes_no_administrator(
    client: httpx.AsyncClient,
) -> None:
    root = await log_in(client, ADMINISTRATOR)
    fallen = await made(
        await client.post(USERS, json=a_user(isAdmin=True, password=sealed(PASSWORD)), headers=root)
    )
    bearer = await log_in(client, fallen["username"])
    wanted = a_user(isAdmin=True, password=sealed(PASSWORD))

    guesses = await flooded(client)
    asked = asyncio.create_task(client.post(USERS, json=wanted, headers=bearer))
    await asyncio.wait({asked}, timeout=0.25)
    disabled = await client.patch(
        f"{USERS}/{fallen['id']}", json={"status": "disabled"}, headers=root
    )
    assert disabled.status_code == 200
    assert not asked.done(), "the queue was too short to show anything"

    assert (await asked).status_code == 401
    await asyncio.gather(*guesses)
    found = await client.get(USERS, params={"keyword": str(wanted["username"])}, headers=root)
    assert (await made(found))["total"] == 0


async def test_a_manager_whose_role_is_taken_while_hashes_are_queued_gets_no_password(
    client: httpx.AsyncClient,
) -> None:
    root = await log_in(client, ADMINISTRATOR)
    code = f"r-{token_hex(6)}"
    role = {"code": code, "name": code, "permissions": ["POST:/api/v1/users/{user_id}/password"]}
    await made(await client.post(ROLES, json=role, headers=root))
    manager, victim = [
        await made(
            await client.post(
                USERS, json=a_user(roles=roles, password=sealed(PASSWORD)), headers=root
            )
        )
        for roles in ([code], [])
    ]
    bearer = await log_in(client, manager["username"])

    guesses = await flooded(client)
    asked = asyncio.create_task(client.post(f"{USERS}/{victim['id']}/password", headers=bearer))
    await asyncio.wait({asked}, timeout=0.25)
    taken = await client.patch(f"{USERS}/{manager['id']}", json={"roles": []}, headers=root)
    assert taken.status_code == 200
    assert not asked.done(), "the queue was too short to show anything"

    assert (await asked).status_code == 403
    await asyncio.gather(*guesses)
    await log_in(client, victim["username"])
