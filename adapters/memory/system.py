"""What every use case may need from the machine, without one."""

from application.ports.system import Schema


class MemorySchema(Schema):
    """Memory has no schema that could be behind."""

    async def upgrade(self) -> None:
        return

    async def is_current(self) -> bool:
        return True
