"""`portico migrate`."""

from application.settings import Settings, Stores
from entrypoints.cli import console
from entrypoints.cli.connection import connected
from entrypoints.cli.errors import MemoryNotKept, MigrationsMissing


async def upgrade(*, patience: float, json: bool) -> None:
    """Bring the database to the newest schema."""
    async with connected(patience=patience) as container:
        await container.schema().upgrade()
        settings = container.settings()
    _show(settings, json=json)


async def check(*, patience: float, json: bool) -> None:
    """Raise `MigrationsMissing` unless the database has the newest schema."""
    async with connected(patience=patience) as container:
        current = await container.schema().is_current()
        settings = container.settings()
    if not current:
        if json:
            console.show_json({"current": False})
        raise MigrationsMissing
    _show(settings, json=json)


async def write(message: str, *, patience: float, json: bool) -> None:
    """Write the migration that leads from the database to the tables in the code."""
    async with connected(patience=patience) as container:
        if container.settings().stores is Stores.MEMORY:
            raise MemoryNotKept("a migration is written from a database")
        path = await container.schema().write_migration(message)
    if json:
        console.show_json({"file": str(path) if path else None})
    else:
        console.show(
            f"Wrote {path}; read it before you run it" if path else "There is nothing to migrate"
        )


def _show(settings: Settings, *, json: bool) -> None:
    if json:
        console.show_json({"current": True})
    elif settings.stores is Stores.MEMORY:
        console.show("There is no database, so nothing was migrated: PORTICO_STORES=memory")
    else:
        console.show("The database has the newest schema")
