"""The history of the database's shape, one file per step. Run by `adapters.postgres.schema`."""
