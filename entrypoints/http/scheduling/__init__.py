"""Periodic tasks, their runs, and the beat that publishes them."""
