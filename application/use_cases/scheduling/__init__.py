"""Periodic tasks: what people do with them, what workers note of their runs. No broker, no store."""
