"""Celery: the application, its tasks and its beat. A task calls one use case and does nothing else."""
