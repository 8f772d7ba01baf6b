"""Routes name the use cases that they need by type."""

from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from application.use_cases.permissions import ListPermissions
from entrypoints.wiring import UseCase, attach
from tests.support.world import World


@dataclass(frozen=True, slots=True)
class NotProvided:
    """A use case that the container lacks."""


async def test_a_route_gets_the_use_case_of_the_annotated_type(world: World) -> None:
    app = FastAPI()

    @app.get("/")
    async def name_it(list_permissions: UseCase[ListPermissions]) -> str:
        return type(list_permissions).__name__

    attach(app.state, world.container)

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/")).json() == "ListPermissions"


def test_a_use_case_that_the_container_lacks_is_named_when_the_route_is_written() -> None:
    with pytest.raises(LookupError, match="the container has 0 providers of NotProvided"):
        UseCase[NotProvided]
