"""A world of its own for every test."""

from tests.support.fixtures import admin_web, web, world

__all__ = ["admin_web", "web", "world"]
