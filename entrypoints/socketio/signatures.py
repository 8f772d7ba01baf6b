"""Signatures of handlers and dependencies: their parameters, with the markers among annotations and defaults."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import params

from entrypoints.socketio.errors import InvalidHandler
from entrypoints.socketio.parameters import Payload, Special
from entrypoints.socketio.plan import Kind

Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Read:
    """A parameter, its type without markers, and the last marker among its default and its annotations."""

    parameter: Parameter
    annotation: Any
    marker: Any

    @property
    def default(self) -> Any:
        return Parameter.empty if _is_marker(self.parameter.default) else self.parameter.default

    @property
    def name(self) -> str:
        return self.parameter.name

    @property
    def bare(self) -> Any:
        """Return the type without what `Annotated` adds."""
        return (
            get_args(self.annotation)[0]
            if get_origin(self.annotation) is Annotated
            else self.annotation
        )

    def is_a(self, *classes: type) -> bool:
        return inspect.isclass(self.bare) and issubclass(self.bare, classes)


def read_signature(call: Call, where: str) -> list[Read]:
    """Return the parameters of a function, class or instance; raise `InvalidHandler` for an unknown name."""
    target = _function_of(call)
    try:
        hints = get_type_hints(target, include_extras=True)
    except NameError as error:
        raise InvalidHandler(f"{where}: {name_of(call)}: {error} (in an annotation)") from error
    try:
        parameters = inspect.signature(call).parameters.values()
    except ValueError as error:
        raise InvalidHandler(f"{where}: {name_of(call)} does not tell its parameters") from error
    reads: list[Read] = []
    for parameter in parameters:
        annotation = hints.get(parameter.name, parameter.annotation)
        type_: Any = annotation
        extras: list[Any] = []
        if get_origin(annotation) is Annotated:
            type_, *extras = get_args(annotation)
        markers = [extra for extra in extras if _is_marker(extra)]
        if _is_marker(parameter.default):
            markers.append(parameter.default)
        kept = tuple(extra for extra in extras if not _is_marker(extra))
        if kept:
            type_ = Annotated[(type_, *kept)]
        reads.append(Read(parameter, type_, markers[-1] if markers else None))
    return reads


def _function_of(call: Call) -> Any:
    while isinstance(call, functools.partial):
        call = call.func
    if inspect.isclass(call):
        return call.__init__
    if inspect.isroutine(call):
        return call
    return type(call).__call__


def returned_by(call: Call) -> Any:
    """Return the annotation of what a function returns; `Parameter.empty` if it has none."""
    return get_type_hints(_function_of(call), include_extras=True).get("return", Parameter.empty)


def kind_of(call: Call) -> Kind:
    """Return how `call` is to be called; raise `InvalidHandler` if that cannot be known."""
    function = _function_of(call)
    if inspect.isclass(call):
        function = call
    is_inline = getattr(call, "__inline__", False)
    if inspect.isasyncgenfunction(function):
        return Kind.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(function):
        return Kind.INLINE_GENERATOR if is_inline else Kind.THREAD_GENERATOR
    wrapped = inspect.unwrap(function)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(wrapped):
        return Kind.COROUTINE
    if inspect.isasyncgenfunction(wrapped) or inspect.isgeneratorfunction(wrapped):
        raise InvalidHandler(
            f"{name_of(call)} is a decorated generator; give the generator function itself"
        )
    return Kind.INLINE if is_inline else Kind.THREAD


def _is_marker(value: Any) -> bool:
    return isinstance(value, (params.Depends, Special, Payload, params.Param, params.Body))


def name_of(call: Any) -> str:
    """Return what people call it."""
    return getattr(call, "__qualname__", None) or repr(call)
