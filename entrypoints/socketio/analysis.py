"""From a handler to its plan. Signatures are read here, when a handler is registered, and nowhere else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import params
from fastapi.security import SecurityScopes
from pydantic import Strict, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from entrypoints.socketio.errors import InvalidHandler
from entrypoints.socketio.parameters import Payload, Special
from entrypoints.socketio.plan import FIRST_CELL, Argument, Kind, Plan, Step
from entrypoints.socketio.signatures import (
    Call,
    Read,
    kind_of,
    name_of,
    read_signature,
    returned_by,
)

Overrides = Mapping[Call, Call]

_OF_HTTP = (Request, Response, BackgroundTasks, WebSocket)

_ONLY_IN = {
    Special.ENVIRON: "connect",
    Special.AUTH: "connect",
    Special.REASON: "disconnect",
}


@dataclass(frozen=True, slots=True)
class Registration:
    """The event and namespace of a handler."""

    event: str
    namespace: str

    def __str__(self) -> str:
        return self.event if self.namespace == "/" else f"{self.event} of {self.namespace}"

    def plain_names(self) -> list[Special]:
        """Return what python-socketio gives to a handler before the arguments of the client, in order."""
        names = [Special.SID]
        if self.namespace == "*":
            names.insert(0, Special.NAMESPACE)
        if self.event == "*":
            names.insert(0, Special.EVENT)
        if self.event == "connect":
            names += [Special.ENVIRON, Special.AUTH]
        if self.event == "disconnect":
            names += [Special.REASON]
        return names


def is_plain(handler: Call, registration: Registration) -> bool:
    """Return whether python-socketio can run `handler` as it is: it asks for nothing that a plan gives."""
    reads = read_signature(handler, str(registration))
    if not reads:
        return registration.event in {"connect", "disconnect"}
    plain = _plain_parameters(registration, reads)
    return all(
        read.marker is None and (read.name in plain or read.annotation in (Parameter.empty, Any))
        for read in reads
    )


def analyse(
    handler: Call,
    registration: Registration,
    *,
    dependencies: Sequence[params.Depends] = (),
    overrides: Overrides | None = None,
) -> Plan:
    """Return the plan of `handler`; raise `InvalidHandler`, which names the parameter, if it could never run."""
    return _Analysis(registration, overrides or {}).plan(handler, dependencies)


class _Analysis:
    def __init__(self, registration: Registration, overrides: Overrides) -> None:
        self.registration = registration
        self.overrides = overrides
        self.steps: list[Step] = []
        self.constants: list[Any] = []
        self.arguments: list[Argument] = []
        self.cached: dict[tuple[Call, tuple[str, ...]], int] = {}
        self.path: list[Call] = []
        self.needs_connection = False

    def plan(self, handler: Call, dependencies: Sequence[params.Depends]) -> Plan:
        for marker in dependencies:
            self._dependency(marker, marker.dependency, ())
        self._handler(handler)
        return Plan(
            handler=handler,
            steps=tuple(self.steps),
            constants=tuple(self.constants),
            needs_connection=self.needs_connection,
            dependencies=tuple(dependencies),
            arguments=tuple(self.arguments),
            returns=returned_by(handler),
        )

    def _handler(self, handler: Call) -> None:
        kind = kind_of(handler)
        if kind not in {Kind.COROUTINE, Kind.INLINE, Kind.THREAD}:
            raise InvalidHandler(f"{self.registration}: {name_of(handler)} is a generator")
        reads = read_signature(handler, str(self.registration))
        plain = _plain_parameters(self.registration, reads)
        count = sum(self._is_argument(read) for read in reads if read.name not in plain)
        arguments: list[Read] = []
        cells: dict[str, int] = {}
        # Arguments are validated before dependencies run; what those do may be costly.
        for read in sorted(reads, key=lambda read: not self._is_argument(read)):
            if read.name in plain:
                cells[read.name] = plain[read.name]
            elif self._is_argument(read):
                marked = read.marker and read.marker.index
                index = len(arguments) if marked is None else marked
                cells[read.name] = self._argument(handler, read, index, is_only=count == 1)
                arguments.append(read)
            else:
                cells[read.name] = self._given(handler, read, ())
        self._call(handler, kind, reads, cells)

    def _is_argument(self, read: Read) -> bool:
        if read.marker is not None:
            return isinstance(read.marker, Payload)
        return not read.is_a(HTTPConnection, SecurityScopes, *_OF_HTTP)

    def _given(self, owner: Call, read: Read, scopes: tuple[str, ...]) -> int:
        """Return the cell of a parameter that is no argument of the client."""
        match read.marker:
            case params.Depends() as marker:
                return self._dependency(marker, marker.dependency or read.bare, scopes, owner, read)
            case Special() as special:
                return self._special(owner, read, special)
            case params.Param() | params.Body() as marker:
                raise self._refusal(
                    owner,
                    read,
                    f"{type(marker).__name__}() is of HTTP; take an HTTPConnection instead",
                )
            case _:
                pass
        if read.is_a(*_OF_HTTP):
            raise self._refusal(
                owner, read, f"{read.bare.__name__} is of HTTP; take an HTTPConnection instead"
            )
        if read.is_a(HTTPConnection):
            self.needs_connection = True
            return int(Special.CONNECTION)
        if read.is_a(SecurityScopes):
            return self._cell(SecurityScopes(list(scopes)))
        raise self._refusal(
            owner,
            read,
            "nothing gives it a value; dependencies get arguments of the client by Annotated[…, Payload()]",
        )

    def _special(self, owner: Call, read: Read, special: Special) -> int:
        event = _ONLY_IN.get(special, self.registration.event)
        if event != self.registration.event:
            raise self._refusal(owner, read, f"{special.name.title()} is known in {event} alone")
        return int(special)

    def _dependency(
        self,
        marker: params.Depends,
        dependency: Call | None,
        scopes: tuple[str, ...],
        owner: Call | None = None,
        read: Read | None = None,
    ) -> int:
        if not callable(dependency) or dependency is Parameter.empty:
            where = (
                f"parameter {read.name!r} of {name_of(owner)}" if read and owner else "a dependency"
            )
            raise InvalidHandler(
                f"{self.registration}: {where}: Depends() without a callable or a class"
            )
        if getattr(marker, "max_concurrency", None) is not None:
            raise InvalidHandler(
                f"{self.registration}: {name_of(dependency)}: max_concurrency is of HTTP alone"
            )
        call = self.overrides.get(dependency, dependency)
        if call in self.path:
            cycle = " → ".join(map(name_of, [*self.path[self.path.index(call) :], call]))
            raise InvalidHandler(f"{self.registration}: dependencies in a circle: {cycle}")
        if isinstance(marker, params.Security):
            scopes = (*scopes, *(marker.scopes or ()))
        key = (call, scopes if self._uses_scopes(call, ()) else ())
        if marker.use_cache and key in self.cached:
            return self.cached[key]
        self.path.append(call)
        reads = read_signature(call, str(self.registration))
        cells: dict[str, int] = {}
        for each in reads:
            if isinstance(each.marker, Payload):
                cells[each.name] = self._argument(call, each, each.marker.index or 0, is_only=True)
            elif each.marker is not None or each.default is Parameter.empty:
                cells[each.name] = self._given(call, each, scopes)
        cell = self._call(call, kind_of(call), reads, cells)
        self.path.pop()
        if marker.use_cache:
            self.cached[key] = cell
        return cell

    def _uses_scopes(self, call: Call, seen: tuple[Call, ...]) -> bool:
        if call in seen:
            return False
        for read in read_signature(call, str(self.registration)):
            if read.is_a(SecurityScopes):
                return True
            if isinstance(read.marker, params.Depends):
                inner = read.marker.dependency or read.bare
                inner = self.overrides.get(inner, inner)
                if callable(inner) and self._uses_scopes(inner, (*seen, call)):
                    return True
        return False

    def _argument(self, owner: Call, read: Read, index: int, *, is_only: bool) -> int:
        kind = read.parameter.kind
        if kind is Parameter.VAR_KEYWORD:
            raise self._refusal(owner, read, "nothing gives it a value")
        if self.registration.event == "disconnect" or (
            self.registration.event == "connect" and (index or kind is Parameter.VAR_POSITIONAL)
        ):
            raise self._refusal(owner, read, "clients send nothing that it could be")
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(
                _strict(Any if read.annotation is Parameter.empty else read.annotation)
            )
            validate = adapter.validator.validate_python
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            reason = "Pydantic cannot validate its type, and it has no Depends"
            raise self._refusal(owner, read, reason) from error
        argument = Argument(
            name=read.name,
            index=index,
            adapter=adapter,
            validate=validate,
            default=read.default,
            takes_binary=_takes_binary(adapter.core_schema),
            is_only=is_only,
            is_rest=kind is Parameter.VAR_POSITIONAL,
        )
        cell = self._cell(None)
        read_it = argument.read_rest if argument.is_rest else argument.read
        self.steps.append(Step(Kind.ARGUMENT, cell, read_it))
        self.arguments.append(argument)
        return cell

    def _call(self, call: Call, kind: Kind, reads: Iterable[Read], cells: Mapping[str, int]) -> int:
        positions: list[int] = []
        names: list[str] = []
        rest: int | None = None
        by_position = True
        for read in reads:
            match read.parameter.kind:
                case _ if read.name not in cells:
                    by_position = False
                case Parameter.VAR_POSITIONAL:
                    rest = cells[read.name]
                case Parameter.POSITIONAL_ONLY | Parameter.POSITIONAL_OR_KEYWORD if by_position:
                    positions.append(cells[read.name])
                case Parameter.POSITIONAL_ONLY:
                    raise self._refusal(
                        call, read, "it is positional only, after one that keeps its default"
                    )
                case _:
                    names.append(read.name)
        cell = self._cell(None)
        named = tuple((name, cells[name]) for name in names)
        self.steps.append(Step(kind, cell, call, tuple(positions), rest, named))
        return cell

    def _cell(self, value: Any) -> int:
        self.constants.append(value)
        return FIRST_CELL + len(self.constants) - 1

    def _refusal(self, owner: Call, read: Read, reason: str) -> InvalidHandler:
        where = f"{self.registration}: parameter {read.name!r} of {name_of(owner)}"
        return InvalidHandler(f"{where}: {reason}")


def _plain_parameters(registration: Registration, reads: Iterable[Read]) -> dict[str, int]:
    """Return the cells of parameters that are what python-socketio gives, by name, as in `(sid, environ, auth)`."""
    expected = {special.name.lower(): special for special in registration.plain_names()}
    found: dict[str, int] = {}
    for read in reads:
        special = expected.get(read.name)
        if special is None or read.marker is not None:
            continue
        is_text = read.annotation is str and special is not Special.AUTH
        if is_text or special is Special.ENVIRON or read.annotation in (Parameter.empty, Any):
            found[read.name] = int(special)
    return found


# --- payload ------------------------------------------------------------------------------------


def _strict(type_: Any) -> Any:
    """Return `type_`, in which bytes are never text and text is never bytes.

    Pydantic takes each for the other, as text has no other way to carry bytes in JSON; here it has.
    """
    if type_ in (bytes, str):
        return Annotated[type_, Strict()]
    origin, inner = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        return Union[tuple(map(_strict, inner))]  # noqa: UP007  made of a tuple
    if origin in (list, tuple, dict, set, frozenset) and inner:
        return origin[tuple(each if each is Ellipsis else _strict(each) for each in inner)]
    if origin is Annotated:
        return Annotated[(_strict(inner[0]), *inner[1:])]
    return type_


def _takes_binary(schema: Any) -> bool:
    if isinstance(schema, dict):
        kind = schema.get("type")
        return kind in ("bytes", "any") or any(map(_takes_binary, schema.values()))
    if isinstance(schema, list | tuple):
        return any(map(_takes_binary, schema))
    return False
