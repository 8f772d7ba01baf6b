"""Periodic tasks and their runs in memory."""
