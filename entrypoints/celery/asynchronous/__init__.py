"""`async def` tasks in the pools that Celery has: one event loop per worker process, in a thread of its own."""
