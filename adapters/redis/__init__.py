"""Ports kept in Redis; what must be atomic is a Lua script beside its caller."""
