"""Periodic tasks and their runs: what users do with them, and what workers record. No broker, no store."""
