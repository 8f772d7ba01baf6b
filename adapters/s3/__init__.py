"""Ports kept in an S3-compatible store."""
