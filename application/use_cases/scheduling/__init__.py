"""Periodic tasks: what people do with them, what workers note of their runs. No Celery, no store."""
