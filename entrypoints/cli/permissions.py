"""`portico sync-routes`."""

from application.settings import HttpSettings, Stores
from entrypoints.cli import console
from entrypoints.cli.connection import connected
from entrypoints.cli.errors import MemoryNotKept, MigrationsMissing
from entrypoints.http.app import described_app
from entrypoints.http.permissions import guarded_routes
from entrypoints.realtime.security import guarded_events
from entrypoints.realtime.server import described_server


async def sync(*, patience: float, json: bool) -> None:
    """Make the catalogue of permissions what this version serves; raise `MigrationsMissing` or `MemoryNotKept`."""
    routes = [
        *guarded_routes(described_app(HttpSettings(), debug=False).routes),
        *guarded_events(described_server()),
    ]
    async with connected(patience=patience) as container:
        if container.settings().stores is Stores.MEMORY:
            raise MemoryNotKept("the API updates its own catalogue when it starts")
        if not await container.schema().is_current():
            raise MigrationsMissing
        await container.sync_routes()(routes)
    if json:
        console.show_json({"permissions": sorted(route.code.value for route in routes)})
    else:
        console.show(f"The catalogue has the {len(routes)} permissions of this version")
