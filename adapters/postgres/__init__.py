"""Ports kept in PostgreSQL with SQLAlchemy Core. No rule of the domain lives here."""
