"""What is measured of requests, and who may see it."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import httpx
import pytest

from adapters.memory.metrics import MemoryMetrics
from application.metrics import (
    ACCESS_READS,
    GUARD_REFUSALS,
    HTTP_DURATION,
    HTTP_IN_PROGRESS,
    HTTP_REQUESTS,
    LOG_INS,
    REFRESHES,
)
from application.ports.metrics import Metric
from application.ports.unit_of_work import UnitOfWork
from application.settings import HttpSettings, MetricsSettings
from domain.errors import Unavailable
from entrypoints.metrics_page import MetricsPage
from tests.support.builders import a_user
from tests.support.web import Web
from tests.support.world import IN_MEMORY, LAPTOP, World

HERE = ip_network(LAPTOP.address)
TOKEN = "a token of a scraper"


def world_with(
    *, allow: bool = False, token: str | None = None, http: HttpSettings = IN_MEMORY.http
) -> World:
    metrics = MetricsSettings(allow=(HERE,) if allow else (), token=token)
    return World(settings=replace(IN_MEMORY, metrics=metrics, http=http))


def measured(web: Web, metric: Metric) -> Mapping[tuple[str, ...], float]:
    """Return the values of a metric by its labels."""
    metrics = web.world.container.metrics()
    assert isinstance(metrics, MemoryMetrics)
    return {labels: value for (known, labels), value in metrics.values.items() if known is metric}


# --- who may see them ---------------------------------------------------------------------------


async def scrape(web: Web, **headers: str) -> httpx.Response:
    return await web.client.get("/metrics", headers=headers)


async def test_an_allowed_address_gets_the_metrics() -> None:
    async with Web(world_with(allow=True)) as web:
        await web.client.get("/livez")
        response = await scrape(web)

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert (
        'portico_http_requests_total{method="GET",route="/livez",status="200"} 1' in response.text
    )


async def test_another_address_does_not(web: Web) -> None:
    response = await scrape(web)

    assert response.status_code == 403
    assert response.json()["error"] == "http.forbidden"


async def test_the_bearer_of_the_token_gets_them_from_anywhere() -> None:
    async with Web(world_with(token=TOKEN)) as web:
        assert (await scrape(web, Authorization=f"Bearer {TOKEN}")).status_code == 200
        assert (await scrape(web, Authorization=f"bearer {TOKEN}")).status_code == 200
        assert (await scrape(web, Authorization=f"Bearer {TOKEN}x")).status_code == 403
        assert (await scrape(web, Authorization=f"Basic {TOKEN}")).status_code == 403
        assert (await scrape(web)).status_code == 403


async def test_a_token_is_worth_nothing_where_none_is_set(web: Web) -> None:
    assert (await scrape(web, Authorization="Bearer ")).status_code == 403
    assert (await scrape(web, Authorization="Bearer None")).status_code == 403


@pytest.mark.parametrize(
    "header",
    [{"X-Forwarded-For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}, {"Via": "1.1 x"}],
)
async def test_an_address_counts_only_without_a_proxy_in_between(header: dict[str, str]) -> None:
    """Behind a proxy on the same host, everybody would come from an allowed address."""
    async with Web(world_with(allow=True)) as web:
        assert (await scrape(web, **header)).status_code == 403


# --- what is measured ---------------------------------------------------------------------------


async def test_requests_count_by_method_template_and_status(web: Web) -> None:
    user = await web.world.given(a_user())
    headers = await web.bearer(user)
    sessions = "/api/v1/auth/sessions"
    await web.client.head("/livez")
    await web.client.delete(f"{sessions}/018f0000-0000-7000-8000-000000000001", headers=headers)
    await web.client.delete(f"{sessions}/018f0000-0000-7000-8000-000000000002", headers=headers)

    counted = measured(web, HTTP_REQUESTS)
    assert counted["HEAD", "/livez", "200"] == 1
    assert counted["DELETE", f"{sessions}/{{session_id}}", "404"] == 2
    assert measured(web, HTTP_DURATION).keys() == {labels[:2] for labels in counted}
    assert web.app.state.request_metrics.in_progress == 0


async def test_names_that_clients_make_up_make_no_labels(web: Web) -> None:
    await web.client.get("/nowhere/1")
    await web.client.get("/nowhere/2?x=1")
    await web.client.request("PROPFIND", "/nowhere/3")

    assert measured(web, HTTP_REQUESTS) == {("GET", "none", "404"): 2, ("other", "none", "404"): 1}


async def test_requests_in_progress_are_sampled(web: Web) -> None:
    requests = web.app.state.request_metrics
    requests.in_progress += 1
    requests.sample(requests.metrics)
    requests.in_progress -= 1

    assert measured(web, HTTP_IN_PROGRESS) == {(): 1}


async def test_requests_in_progress_are_known_before_the_first_request(web: Web) -> None:
    """PorticoNoApi relies on it."""
    async with web.app.router.lifespan_context(web.app):
        await asyncio.sleep(0)

    assert measured(web, HTTP_IN_PROGRESS) == {(): 0}


async def test_log_ins_and_refreshes_count_by_their_outcome(web: Web) -> None:
    ada = await web.world.given(a_user())
    data = await web.log_in(ada)
    for password in ("wrong", "wronger"):
        await web.client.post(
            "/api/v1/auth/login",
            json={"username": ada.username.value, **web.sealed(password)},
        )
    refresh = {"X-Refresh-Token": data["refreshToken"]}
    await web.client.post("/api/v1/auth/token/refresh", headers=refresh)
    await web.client.post("/api/v1/auth/token/refresh", headers={"X-Refresh-Token": "x"})

    assert measured(web, LOG_INS) == {("ok",): 1, ("sessions.invalid_credentials",): 2}
    assert measured(web, REFRESHES) == {("ok",): 1, ("sessions.invalid_token",): 1}


async def test_refusals_of_the_guard_and_reads_of_access_are_counted(web: Web) -> None:
    headers = await web.bearer(await web.world.given(a_user()))
    for _ in range(2):
        await web.client.get("/api/v1/users", headers=headers)
    await web.client.get("/api/v1/users", headers={"Authorization": "Bearer x"})

    assert measured(web, GUARD_REFUSALS) == {
        ("access.permission_denied",): 2,
        ("sessions.invalid_token",): 1,
    }
    assert measured(web, ACCESS_READS) == {("database",): 1, ("process",): 2}


# --- the page -----------------------------------------------------------------------------------


async def test_scrapes_at_once_are_one_and_a_text_is_kept_for_some_seconds() -> None:
    asked = 0

    async def read() -> tuple[()]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return ()

    page = MetricsPage(MemoryMetrics(), read)
    await asyncio.gather(*(page() for _ in range(5)))
    await page()
    assert asked == 1

    fresh = MetricsPage(MemoryMetrics(), read, fresh_for=0)
    await fresh()
    await fresh()
    assert asked == 3


async def test_a_scrape_asks_the_dependencies_and_the_outbox() -> None:
    async with Web(world_with(allow=True)) as web:
        await web.world.given(a_user())
        await web.client.get("/api/v1/users", headers={"Authorization": "Bearer x"})
        text = (await scrape(web)).text

    assert "portico_outbox_pending " in text
    assert "portico_outbox_oldest_seconds " in text


async def test_a_scrape_answers_while_the_outbox_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Web(world_with(allow=True)) as web:

        def down() -> UnitOfWork:
            raise Unavailable("PostgreSQL")

        gauges = replace(web.world.container.read_gauges(), uow=down)
        web.app.state.metrics_page = MetricsPage(web.world.container.metrics(), gauges)
        await web.client.get("/livez")
        text = (await scrape(web)).text

    assert "portico_outbox" not in text
    assert "portico_http_requests_total" in text
