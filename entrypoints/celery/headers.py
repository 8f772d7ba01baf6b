"""The headers of a message that is a run of a periodic task."""

TASK_HEADER = "periodic_task"
"""The id of the task."""
SLOT_HEADER = "scheduled_for"
"""The slot of the run (ISO 8601)."""
