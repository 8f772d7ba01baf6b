"""Socket.IO whose handlers are written like FastAPI routes: a library that knows nothing of the product.

`server.AsyncServer` is python-socketio's server with dependency injection, validated payloads, errors that reach the
client, and limits. Import python-socketio itself as `socketio`; this package is always `entrypoints.socketio`.
"""
