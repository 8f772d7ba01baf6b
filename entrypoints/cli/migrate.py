"""`portico migrate`."""

import bootstrap
from entrypoints.cli import console
from entrypoints.cli.connection import connected
from entrypoints.cli.errors import MigrationsMissing


async def upgrade(*, patience: float, json: bool) -> None:
    """Bring the database to the newest schema."""
    async with connected(patience=patience) as container:
        await container.schema().upgrade()
    if json:
        console.show_json({"current": True})
    else:
        console.show("The database has the newest schema")


async def check(*, patience: float, json: bool) -> None:
    """Raise `MigrationsMissing` unless the database has the newest schema."""
    async with connected(patience=patience) as container:
        current = await container.schema().is_current()
    if json:
        console.show_json({"current": current})
    if not current:
        raise MigrationsMissing
    if not json:
        console.show("The database has the newest schema")


async def write(message: str, *, patience: float, json: bool) -> None:
    """Write the migration that leads from the database to the tables in the code."""
    async with connected(patience=patience) as container:
        path = await bootstrap.write_migration(container.settings(), message)
    if json:
        console.show_json({"file": str(path) if path else None})
    else:
        console.show(
            f"Wrote {path}; read it before you run it" if path else "There is nothing to migrate"
        )
