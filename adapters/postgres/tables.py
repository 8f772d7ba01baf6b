"""The metadata that all tables share. Each table stands beside its repository; `migrations/` creates them."""

import pkgutil
from enum import IntEnum
from importlib import import_module
from pathlib import Path

from sqlalchemy import Column, DateTime, MetaData, Table, Text, func

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Key = Text(collation="C")
"""Keys are compared byte by byte: a collation of the operating system's would be slower, and an
upgrade of it can silently corrupt the index."""


def all_tables() -> MetaData:
    """Return the metadata with every table: import all modules of this package, for each may declare some."""
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):
        import_module(module.name)
    return metadata


class AdvisoryLock(IntEnum):
    """Locks that belong to no table; one database has one name space for them."""

    MIGRATIONS = int.from_bytes(b"portico\1")
    ACCESS = int.from_bytes(b"portico\2")
    PERMISSIONS = int.from_bytes(b"portico\3")
    REGISTERED_TASKS = int.from_bytes(b"portico\4")


applied_migrations = Table(
    "applied_migrations",
    metadata,
    Column("revision", Text(collation="C"), primary_key=True),
    Column("applied_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""Every applied revision: alembic itself remembers only the last one. `migrations/env.py` writes it."""
