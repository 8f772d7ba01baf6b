"""The HTTP API: FastAPI routes and what surrounds them."""
