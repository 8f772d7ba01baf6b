"""What uvicorn loads in each process of `portico api`: `entrypoints.api`, in less time and less memory."""

from bootstrap import absent

# python-socketio imports the libraries of its clients and of other managers: 16 MB, and a seventh of the start.
with absent("aiohttp", "requests", "websocket", "kombu", "valkey", "aio_pika"):
    from entrypoints.api import create_api

__all__ = ["create_api"]
