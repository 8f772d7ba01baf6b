"""Adapters for MongoDB. Only `client` imports Motor; errors, options and BSON come from PyMongo."""
