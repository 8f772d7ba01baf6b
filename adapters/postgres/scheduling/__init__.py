"""Periodic tasks and their runs in PostgreSQL: as people define them, as beats claim them, as workers note them."""
