"""Alembic runs this file. It migrates the connection that it gets from `adapters.postgres.schema`."""

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.util import CommandError
from sqlalchemy import delete, func, inspect, select
from sqlalchemy.dialects.postgresql import insert

from adapters.postgres.tables import all_tables, applied_migrations


def record(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Record in the database that a revision was applied or reverted, in the transaction of the revision.

    The first record is of all revisions so far, because the first ones had no such table.
    """
    del heads, run_args
    database = ctx.connection
    if database is None or not inspect(database).has_table(applied_migrations.name):
        return
    table = applied_migrations
    if not step.is_upgrade:
        database.execute(delete(table).where(table.c.revision.in_(step.up_revision_ids)))
        return
    taken = set(step.up_revision_ids)
    if not database.scalar(select(func.count()).select_from(table)):
        before = step.revision_map.iterate_revisions(step.up_revision_ids, "base")
        taken |= {each.revision for each in before}
    rows = [{"revision": revision} for revision in sorted(taken)]
    database.execute(insert(table).on_conflict_do_nothing(), rows)


connection = context.config.attributes.get("connection")
if connection is None:
    raise CommandError("Run `portico migrate`: it knows the database and takes the lock")

context.configure(
    connection=connection,
    target_metadata=all_tables(),
    # One that fails leaves the ones before it in place.
    transaction_per_migration=True,
    on_version_apply=record,
)
with context.begin_transaction():
    context.run_migrations()
