"""Probes, and what must hold before the first request."""

from dataclasses import dataclass, field, replace

import pytest
import structlog
from dependency_injector import providers

from adapters.memory.system import MemorySchema
from application.ports.health import Probe
from application.settings import HttpSettings, UnsafeSettings
from application.use_cases.health import CheckReadiness
from entrypoints.http.app import create_app
from entrypoints.http.startup import DependencyDown, SchemaNotCurrent, ready
from tests.fakes.web import Web
from tests.fakes.world import IN_MEMORY, World


@dataclass
class Dependency(Probe):
    """Answers from the `answers_at`th time on that it is asked."""

    name: str
    answers_at: int = 1
    asked: int = field(default=0, init=False)

    async def check(self) -> None:
        self.asked += 1
        if self.asked < self.answers_at:
            raise ConnectionRefusedError("postgres://ada:hunter2@db.internal:5432")


class OldSchema(MemorySchema):
    async def is_current(self) -> bool:
        return False


def world_with(*dependencies: Dependency) -> World:
    world = World()
    world.container.check_readiness.override(
        providers.Object(CheckReadiness(probes=dependencies, clock=world.clock))
    )
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
    assert response.json()["data"] == {"up": ["postgres", "redis"]}


async def test_a_process_that_is_not_ready_says_what_is_down_and_nothing_more() -> None:
    never = 1000
    world = world_with(Dependency("postgres", never), Dependency("redis"), Dependency("s3", never))
    async with Web(world) as web:
        response = await web.client.get("/readyz")
        alive = await web.client.get("/livez")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"] == "platform.not_ready"
    assert [e["loc"] for e in response.json()["errors"]] == [["postgres"], ["s3"]]
    assert "hunter2" not in response.text
    assert alive.status_code == 200


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
    world = World()
    world.container.check_readiness.override(
        providers.Factory(CheckReadiness, probes=[postgres], clock=world.clock)
    )

    with structlog.testing.capture_logs() as logs:
        await ready(world.container, patience=(0, 0, 0))

    assert [line["down"] for line in logs] == [("postgres",)] * 2
    assert postgres.asked == 3


async def test_a_process_gives_up_on_what_never_comes_up() -> None:
    world = world_with(Dependency("postgres", 1000), Dependency("redis"))

    with structlog.testing.capture_logs(), pytest.raises(DependencyDown, match="postgres"):
        await ready(world.container, patience=(0, 0))


async def test_a_process_does_not_start_on_an_old_schema(web: Web) -> None:
    web.world.container.schema.override(providers.Object(OldSchema()))

    with pytest.raises(SchemaNotCurrent, match="portico migrate"):
        async with web.app.router.lifespan_context(web.app):
            pass


def test_unsafe_settings_are_refused_before_anything_starts() -> None:
    unsafe = replace(IN_MEMORY, http=HttpSettings(cors_origins=("*",), cors_credentials=True))

    with pytest.raises(UnsafeSettings, match="PORTICO_CORS_ORIGINS"):
        create_app(unsafe)
