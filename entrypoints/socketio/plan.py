"""How one event runs: what its handler needs, flat and in order. `analysis` makes plans, once per registration."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from inspect import Parameter
from itertools import chain
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi.params import Depends
from pydantic import TypeAdapter, ValidationError
from starlette.requests import HTTPConnection

from entrypoints.socketio.errors import PayloadError
from entrypoints.socketio.packets import has_binary
from entrypoints.socketio.parameters import Special
from entrypoints.socketio.results import serialise

T = TypeVar("T")


class Arguments(tuple[Any, ...]):
    """The arguments of an event that has binary attachments."""

    __slots__ = ()


class Kind(Enum):
    """How a step gets its value."""

    ARGUMENT = auto()
    COROUTINE = auto()
    INLINE = auto()
    THREAD = auto()
    ASYNC_GENERATOR = auto()
    INLINE_GENERATOR = auto()
    THREAD_GENERATOR = auto()


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of the client, or all from one on."""

    name: str
    index: int
    adapter: TypeAdapter[Any]
    validate: Callable[[Any], Any]
    default: Any
    """`Parameter.empty` if the client must send it."""
    takes_binary: bool
    is_only: bool
    """Whether the handler has no other."""
    is_rest: bool = False
    """Whether it is all arguments from this one on."""

    @property
    def is_required(self) -> bool:
        """Whether the client must send it."""
        return self.default is Parameter.empty and not self.is_rest

    def read(self, arguments: tuple[Any, ...]) -> Any:
        """Return the validated argument; raise `PayloadError`."""
        if self.index < len(arguments):
            return self._validated(arguments[self.index], arguments)
        if self.default is Parameter.empty:
            raise PayloadError(f"{self.name} field required")
        return self.default

    def read_rest(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the validated arguments from this one on; raise `PayloadError`."""
        return tuple([self._validated(each, arguments) for each in arguments[self.index :]])

    def _validated(self, value: Any, arguments: tuple[Any, ...]) -> Any:
        # Pydantic takes bytes for text.
        if type(arguments) is Arguments and not self.takes_binary and has_binary(value):
            raise PayloadError(f"{self.name} should not be binary")
        try:
            return self.validate(value)
        except ValidationError as error:
            raise PayloadError.of(error, self.name, is_only=self.is_only) from error


@dataclass(frozen=True, slots=True)
class Step:
    """One call, with the values of earlier steps, whose value is kept in a cell."""

    kind: Kind
    cell: int
    call: Callable[..., Any]
    positions: tuple[int, ...] = ()
    """The cells of its positional arguments."""
    rest: int | None = None
    """The cell of the further ones (`*args`)."""
    named: tuple[tuple[str, int], ...] = ()
    """Its keyword arguments, and their cells."""


Opened = tuple[Kind, Any]
"""How a generator runs, and the generator."""

FIRST_CELL = len(Special) + 1
"""The cell after those of `Special` and the arguments of the client."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that has to happen for one event, in order; the last step is the handler.

    What generator dependencies opened is closed in reverse order before the result is returned. They get the exception
    if there is one, and cannot hide it from the client, but may replace it.
    """

    handler: Callable[..., Any]
    steps: tuple[Step, ...]
    constants: tuple[Any, ...]
    """What the cells from `FIRST_CELL` on hold before the first step."""
    needs_connection: bool
    dependencies: tuple[Depends, ...] = ()
    """Those that the registration declares, not a parameter; they run first."""
    arguments: tuple[Argument, ...] = ()
    """The payload of the client, as parameters of the handler."""
    returns: Any = Parameter.empty
    """The annotation of what the handler returns."""

    async def run(  # noqa: C901  one loop, with no call that it does not need
        self,
        sid: str,
        event: str,
        namespace: str,
        arguments: tuple[Any, ...] = (),
        *,
        environ: dict[str, Any] | None = None,
        auth: Any = None,
        reason: str | None = None,
        connection: HTTPConnection | None = None,
    ) -> Any:
        """Return what the handler returned, serialised; raise `PayloadError` or what a step raised."""
        values = [sid, event, namespace, environ, auth, reason, connection, arguments]
        values += self.constants
        get = values.__getitem__
        opened: list[Opened] = []
        result: Any = None
        try:
            for step in self.steps:
                kind = step.kind
                if kind is Kind.ARGUMENT:
                    values[step.cell] = step.call(arguments)
                    continue
                positional: Iterable[Any] = map(get, step.positions)
                if step.rest is not None:
                    positional = chain(positional, values[step.rest])
                named = {name: values[cell] for name, cell in step.named} if step.named else {}
                if kind is Kind.COROUTINE:
                    result = await step.call(*positional, **named)
                elif kind is Kind.INLINE:
                    result = step.call(*positional, **named)
                elif kind is Kind.THREAD:
                    result = await _in_thread(partial(step.call, *positional, **named))
                else:
                    generator = step.call(*positional, **named)
                    opened.append((kind, generator))
                    result = await _open(kind, generator)
                values[step.cell] = result
            result = serialise(result)
        except BaseException as error:
            if not opened:
                raise
            await _close(opened, error)
        else:
            if opened:
                await _close(opened, None)
        return result


async def _in_thread(call: Callable[[], T], limiter: CapacityLimiter | None = None) -> T:
    """Run `call` in a thread; who is cancelled waits for it all the same, since it uses what would be closed."""
    running = asyncio.ensure_future(run_sync(call, limiter=limiter))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # which nothing else reads
        raise


# --- generators ---------------------------------------------------------------------------------


async def _open(kind: Kind, generator: Any) -> Any:
    if kind is Kind.ASYNC_GENERATOR:
        return await anext(generator)
    if kind is Kind.INLINE_GENERATOR:
        return _first(generator)
    return await _in_thread(partial(_first, generator))


def _first(generator: Generator[T, None, None]) -> T:
    for value in generator:
        return value
    raise RuntimeError("a generator dependency yielded nothing")


async def _close(opened: Sequence[Opened], error: BaseException | None) -> None:
    """Close all in reverse order, even after errors; raise the exception that is left."""
    for kind, generator in reversed(opened):
        try:
            if kind is Kind.ASYNC_GENERATOR:
                await _end_async(generator, error)
            elif kind is Kind.INLINE_GENERATOR:
                _end(generator, error)
            else:
                # Threads of its own: those of the others may all be waiting for what this one gives back.
                await _in_thread(partial(_end, generator, error), CapacityLimiter(1))
        except BaseException as raised:  # noqa: BLE001  the others are closed first
            error = raised
    if error is not None:
        try:
            raise error
        finally:
            del error  # or its traceback and this frame would keep each other alive


async def _end_async(generator: Any, error: BaseException | None) -> None:
    if generator.ag_frame is None:
        return  # it never opened, or has ended
    try:
        await (anext(generator) if error is None else generator.athrow(error))
    except StopAsyncIteration:
        return
    await generator.aclose()
    raise RuntimeError("a generator dependency yielded twice")


def _end(generator: Any, error: BaseException | None) -> None:
    if generator.gi_frame is None:
        return
    try:
        if error is None:
            next(generator)
        else:
            generator.throw(error)
    except StopIteration:
        return
    generator.close()
    raise RuntimeError("a generator dependency yielded twice")
