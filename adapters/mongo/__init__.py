"""Ports kept in MongoDB. Only `client` imports Motor; errors, options and BSON are the driver's below it."""
