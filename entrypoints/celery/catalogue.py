"""The tasks of a process, as the API shows them."""

import inspect
from collections.abc import Sequence
from typing import Any

from celery import Celery, Task

from domain.scheduling.registered_tasks import Parameter, ParameterKind, RegisteredTask
from entrypoints.celery.internals import written_function
from entrypoints.celery.recording import RECORD_END

_LONGEST_DESCRIPTION = 2000
_LONGEST_ANNOTATION = 200
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def registered_tasks(app: Celery) -> Sequence[RegisteredTask]:
    """Return the tasks of an application that can be scheduled."""
    app.loader.import_default_modules()
    app.finalize()
    return [
        _registered(name, task)
        for name, task in sorted(app.tasks.items())
        if not name.startswith("celery.") and name != RECORD_END
    ]


def _registered(name: str, task: Task[..., Any]) -> RegisteredTask:
    function = written_function(task)
    return RegisteredTask(
        name=name,
        description=(inspect.getdoc(function) or "")[:_LONGEST_DESCRIPTION],
        parameters=tuple(map(_parameter, inspect.signature(function).parameters.values())),
        accepts_anything=not task.typing,
    )


def _parameter(parameter: inspect.Parameter) -> Parameter:
    annotation = parameter.annotation
    return Parameter(
        name=parameter.name,
        kind=ParameterKind[parameter.kind.name],
        required=parameter.default is inspect.Parameter.empty and parameter.kind not in _VARIADIC,
        annotation=(
            ""
            if annotation is inspect.Parameter.empty
            else annotation
            if isinstance(annotation, str)
            else inspect.formatannotation(annotation)
        )[:_LONGEST_ANNOTATION],
    )
