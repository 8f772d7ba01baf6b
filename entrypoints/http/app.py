"""The FastAPI application: routes, middleware, start and stop."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta

from fastapi import APIRouter, FastAPI

import bootstrap
from application.ports.metrics import Sampled
from application.settings import HttpSettings, Settings
from bootstrap import Container
from entrypoints import garbage_collection
from entrypoints.http import docs, health, metrics, v1
from entrypoints.http.companion import Companion
from entrypoints.http.draining import DRAINING, Draining
from entrypoints.http.metrics import RequestMetrics
from entrypoints.http.middleware import middleware
from entrypoints.http.openapi import DescribedAPI
from entrypoints.http.permissions import guarded_routes
from entrypoints.http.route_table import RouteTable
from entrypoints.http.router import check_declared
from entrypoints.http.sessions import keys
from entrypoints.http.startup import making_bucket, ready, register_process
from entrypoints.metrics_page import MetricsPage
from entrypoints.sampling import sampling, set_key_times
from entrypoints.wiring import attach


def create_app(
    settings: Settings | None = None,
    *,
    container: Container | None = None,
    routers: Iterable[APIRouter] = (),
) -> FastAPI:
    """Return the application of `container`; by default a container built from `settings` or the environment.

    It serves `routers` besides our own. Raise `UnsafeSettings`, or `UndeclaredRoute` if a route does not declare who
    may call it.
    """
    owns_process = settings is None and container is None
    if container is None:
        # uvicorn calls this in each worker process, which configures its own logging.
        settings = settings or bootstrap.load_settings()
        bootstrap.configure_logging(settings)
        container = bootstrap.build(settings)
    settings = container.settings()
    app = described_app(settings.http, debug=settings.environment.debug, routers=routers)
    give_container(app, container)
    app.state.companion = None
    app.state.owns_process = owns_process
    app.state.draining = Draining(settings.http.drain or timedelta(0))
    return app


def give_container(app: FastAPI, container: Container) -> None:
    """Let an application serve with a container, from its next request on."""
    attach(app.state, container)
    measured = container.metrics()
    app.state.request_metrics.metrics = measured
    app.state.metrics_page = MetricsPage(measured, container.read_gauges())


def described_app(
    http: HttpSettings,
    *,
    debug: bool,
    routers: Iterable[APIRouter] = (),
) -> DescribedAPI:
    """Return the application without a container: enough to describe it, not to serve it."""
    requests = RequestMetrics()
    app = DescribedAPI(
        debug_environment=debug,
        lifespan=_lifespan,
        middleware=middleware(
            http, requests, auth_prefixes=(v1.AUTH_PREFIX,), avatar_path=v1.AVATAR_PATH
        ),
        redirect_slashes=False,
    )
    app.state.request_metrics = requests
    v1.include_routers(app, debug=debug)
    app.include_router(keys.well_known_router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    if debug:
        app.include_router(docs.router)
    for router in routers:
        app.include_router(router)
    _check_routes(app)
    return app


def _check_routes(app: DescribedAPI) -> None:
    check_declared(app.routes)
    app.route_table = RouteTable.of(app.routes)


@asynccontextmanager
async def _lifespan(app: DescribedAPI) -> AsyncIterator[Mapping[str, object]]:
    container: Container = app.state.container
    draining: Draining = app.state.draining
    async with bootstrap.running(container):
        await ready(container)
        _check_routes(app)  # again: routes may have been added since
        companion: Companion | None = app.state.companion
        permissions = [
            *guarded_routes(app.routes),
            *(companion.permissions() if companion else ()),
        ]
        await register_process(container, permissions)
        gauges: list[Sampled] = [
            app.state.request_metrics.sample,
            *container.gauges(),
            *([companion.sample] if companion else ()),
        ]
        set_key_times(container.metrics(), container.settings().keys)
        async with (
            sampling(container.metrics(), gauges),
            making_bucket(container),
            container.outbox_relay().running(),
            companion.running() if companion else nullcontext(),
        ):
            if app.state.owns_process:
                garbage_collection.freeze_heap()
            with draining.on_sigterm() if app.state.owns_process else nullcontext():
                yield {DRAINING: draining}
