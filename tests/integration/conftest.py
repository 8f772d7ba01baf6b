"""The application in memory, for sweeps over all of its routes."""

from tests.support.fixtures import web, world

__all__ = ["web", "world"]
