"""Ports kept in MongoDB. Only `client` imports the driver."""
