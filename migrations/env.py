"""What alembic runs: it migrates the connection that `adapters.postgres.schema` hands over."""

from alembic import context
from alembic.util import CommandError

from adapters.postgres.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise CommandError("Run `portico migrate`: it knows the database and takes the lock")

context.configure(
    connection=connection,
    target_metadata=metadata,
    # One that fails leaves the ones before it in place.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
