"""Probes, and what must hold before the first request."""

from dataclasses import dataclass, field, replace

import pytest
import structlog
from dependency_injector import providers

from adapters.memory.store import MemoryStore
from adapters.memory.system import MemorySchema
from adapters.memory.unit_of_work import MemoryUnitOfWork
from application.ports.health import Probe
from application.setting_problems import UnsafeSettings
from application.settings import CorsSettings, HttpSettings
from domain.errors import Unavailable
from domain.permissions import Route
from entrypoints.http.app import create_app
from entrypoints.http.startup import DependencyDown, SchemaNotCurrent, ready, register_process
from tests.support.audit_log import everything_in
from tests.support.web import Web
from tests.support.world import IN_MEMORY, World

A_ROUTE = Route(method="GET", path="/things", name="List things")


@dataclass
class Dependency(Probe):
    """Answers from the `answers_at`th time on that it is asked."""

    name: str
    answers_at: int = 1
    required: bool = True
    asked: int = field(default=0, init=False)

    async def check(self) -> None:
        self.asked += 1
        if self.asked < self.answers_at:
            raise Unavailable("PostgreSQL", reason="the password is not the right one")


class OldSchema(MemorySchema):
    async def is_current(self) -> bool:
        return False


def world_with(*dependencies: Dependency) -> World:
    world = World()
    world.container.probes.override(providers.Object(dependencies))
    return world


# --- probes -------------------------------------------------------------------------------------


async def test_a_process_that_answers_is_alive(web: Web) -> None:
    response = await web.client.get("/livez")

    assert response.status_code == 200
    assert response.json()["data"] is None


async def test_a_process_whose_dependencies_answer_is_ready() -> None:
    async with Web(world_with(Dependency("postgres"), Dependency("redis"))) as web:
        response = await web.client.get("/readyz")

    assert response.status_code == 200
    assert response.json()["data"] == {"up": ["postgres", "redis"], "degraded": []}


async def test_a_process_without_what_only_a_part_needs_is_ready_and_says_what_is_missing() -> None:
    world = world_with(Dependency("redis"), Dependency("mongo", 1000, required=False))
    async with Web(world) as web:
        with structlog.testing.capture_logs() as logs:
            response = await web.client.get("/readyz")

    assert response.status_code == 200
    assert response.json()["data"] == {"up": ["redis"], "degraded": ["mongo"]}
    assert "password" not in response.text
    (line,) = (line for line in logs if line["event"] == "degraded")
    assert [*line["reasons"]] == ["mongo"]


async def test_a_process_that_is_not_ready_says_what_is_down_and_nothing_more() -> None:
    never = 1000
    world = world_with(Dependency("postgres", never), Dependency("redis"), Dependency("s3", never))
    async with Web(world) as web:
        with structlog.testing.capture_logs() as logs:
            response = await web.client.get("/readyz")
        alive = await web.client.get("/livez")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"] == "platform.not_ready"
    assert [e["loc"] for e in response.json()["errors"]] == [["postgres"], ["s3"]]
    assert "password" not in response.text
    assert alive.status_code == 200
    (line,) = (line for line in logs if line["event"] == "not ready")
    assert [*line["reasons"]] == ["postgres", "s3"]


async def test_dependencies_are_asked_once_a_second_however_often_readiness_is() -> None:
    postgres = Dependency("postgres")
    async with Web(world_with(postgres)) as web:
        for _ in range(5):
            await web.client.get("/readyz")
        assert postgres.asked == 1

        await web.world.pass_time(seconds=1)
        await web.client.get("/readyz")
        assert postgres.asked == 2


# --- start --------------------------------------------------------------------------------------


async def test_an_application_starts_and_stops(web: Web) -> None:
    async with web.app.router.lifespan_context(web.app):
        assert (await web.client.get("/livez")).status_code == 200


async def test_a_process_waits_for_what_comes_up_late_and_says_so() -> None:
    postgres = Dependency("postgres", answers_at=3)
    world = world_with(postgres)

    with structlog.testing.capture_logs() as logs:
        await ready(world.container, patience=(0, 0, 0))

    assert [line["down"] for line in logs] == [("postgres",)] * 2
    assert postgres.asked == 3


async def test_a_process_starts_without_what_only_a_part_needs() -> None:
    """And does not even ask for it: that took a second and a half of the start while it was down."""
    mongo = Dependency("mongo", 1000, required=False)

    await ready(world_with(Dependency("postgres"), mongo).container, patience=())

    assert mongo.asked == 0


async def test_a_process_gives_up_on_what_never_comes_up() -> None:
    world = world_with(Dependency("postgres", 1000), Dependency("redis"))

    with structlog.testing.capture_logs() as logs, pytest.raises(DependencyDown, match="postgres"):
        await ready(world.container, patience=(0, 0))

    assert logs[-1]["reasons"] == {"postgres": "the password is not the right one"}


async def test_a_process_does_not_start_on_an_old_schema(web: Web) -> None:
    web.world.container.schema.override(providers.Object(OldSchema()))

    with pytest.raises(SchemaNotCurrent, match="portico migrate"):
        async with web.app.router.lifespan_context(web.app):
            pass


class BusyStore:
    """A relational store that is unavailable until it was asked `busy` times."""

    def __init__(self, store: MemoryStore, busy: int) -> None:
        self._store = store
        self._busy = busy

    def __call__(self) -> MemoryUnitOfWork:
        self._busy -= 1
        if self._busy >= 0:
            raise Unavailable("PostgreSQL")
        return MemoryUnitOfWork(self._store)


def starting_with(busy: int) -> World:
    world = World()
    world.container.sync_routes.override(
        providers.Object(
            replace(world.container.sync_routes(), uow=BusyStore(world.store, busy=busy))
        )
    )
    return world


async def test_a_process_has_its_routes_and_keys_known_before_it_serves() -> None:
    world = starting_with(busy=2)

    with structlog.testing.capture_logs() as logs:
        await register_process(world.container, [A_ROUTE], patience=(0, 0))

    assert [line["down"] for line in logs] == ["PostgreSQL"] * 2
    assert [permission.route for permission in world.store.permissions.values()] == [A_ROUTE]
    assert {entry.action for entry in world.audit_entries()} == {
        "permissions.changed",
        "keys.in_use",
    }


async def test_a_process_whose_routes_cannot_be_known_does_not_start() -> None:
    with structlog.testing.capture_logs(), pytest.raises(DependencyDown, match="PostgreSQL"):
        await register_process(starting_with(busy=2).container, [A_ROUTE], patience=(0,))


async def test_entries_recorded_while_it_serves_are_in_the_audit_log_when_it_stops(
    admin_web: Web,
) -> None:
    async with admin_web.app.router.lifespan_context(admin_web.app):
        await admin_web.client.patch("/api/v1/auth/user/info", json={"name": "Ada King"})

    assert admin_web.world.audit_entries() == []
    logged = await everything_in(admin_web.world.container.audit_log())
    assert "users.profile_changed" in [entry.action for entry in logged]


def test_unsafe_settings_are_refused_before_anything_starts() -> None:
    unsafe = replace(
        IN_MEMORY, http=HttpSettings(cors=CorsSettings(origins=("*",), credentials=True))
    )

    with pytest.raises(UnsafeSettings, match="PORTICO_CORS_ORIGINS"):
        create_app(unsafe)
