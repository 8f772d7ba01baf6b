"""The headers of messages: those of a run of a periodic task, and the trace that a task goes on with."""

TASK_HEADER = "periodic_task"
"""The id of the task."""
SLOT_HEADER = "scheduled_for"
"""The slot of the run (ISO 8601)."""
TRACE_HEADER = "traceparent"
"""The span that published the message or requested the run (W3C Trace Context §3.2)."""
