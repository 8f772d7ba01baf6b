"""The schema of the store in memory."""

from pathlib import Path

from application.ports.system import Schema


class MemorySchema(Schema):
    """Memory has no schema that could be behind."""

    async def upgrade(self) -> None:
        return

    async def is_current(self) -> bool:
        return True

    async def write_migration(self, message: str) -> Path | None:  # noqa: ARG002 - memory has no schema to migrate
        return None
