"""Errors of periodic tasks and their runs."""

from collections.abc import Mapping

from domain.errors import Conflict, Invalid, NotFound


class InvalidDefinition(Invalid):
    """A definition breaks rules. `problems` has all of them by field (`schedule.minute`, `options.priority`)."""

    code = "scheduling.invalid_definition"

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(
            "; ".join(f"{field} {problem}" for field, problem in problems.items()),
            field=next(iter(problems)),
        )
        self.problems = dict(problems)


class PeriodicTaskNotFound(NotFound):
    """There is no such periodic task."""

    code = "scheduling.task_not_found"

    def __init__(self, task_id: object) -> None:
        super().__init__(f"There is no periodic task {task_id}")
        self.task_id = task_id


class PeriodicTaskNameTaken(Conflict):
    """Another periodic task has this name."""

    code = "scheduling.name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a periodic task named {name} already")
        self.name = name


class UnreadableDefinition(Conflict):
    """The stored definition of a periodic task breaks rules. It can only be replaced, paused or deleted."""

    code = "scheduling.unreadable_definition"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"The definition of {name} cannot be read: {reason}")
        self.name = name
        self.reason = reason


class RunNotFound(NotFound):
    """There is no such run."""

    code = "scheduling.run_not_found"

    def __init__(self, run_id: object) -> None:
        super().__init__(f"There is no run {run_id}")
        self.run_id = run_id


class RunNotWaiting(Conflict):
    """A run has begun or ended, so it cannot be cancelled."""

    code = "scheduling.run_not_waiting"

    def __init__(self, run_id: object, state: str) -> None:
        super().__init__(f"The run {run_id} does not wait any more: it is {state}")
        self.run_id = run_id
        self.state = state
