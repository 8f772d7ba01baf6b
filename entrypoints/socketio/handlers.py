"""A registered handler: its plan, and the plan with what tests put in the place of its dependencies."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from fastapi.params import Depends
from starlette.requests import HTTPConnection

from entrypoints.socketio.analysis import Overrides, Registration, analyse
from entrypoints.socketio.plan import Plan


class Host(Protocol):
    """The parts of its server that a handler needs."""

    dependency_overrides: dict[Callable[..., Any], Callable[..., Any]]

    def connection_of(self, sid: str, namespace: str) -> HTTPConnection | None:
        """Return the handshake of a client."""
        ...


class PlannedHandler:
    """The function that python-socketio stores and calls in place of a handler that needs a plan."""

    def __init__(
        self,
        handler: Callable[..., Any],
        registration: Registration,
        host: Host,
        *,
        dependencies: Sequence[Depends] = (),
        ordered: bool = False,
    ) -> None:
        self.plan = analyse(handler, registration, dependencies=dependencies)
        self.registration = registration
        self.ordered = ordered
        self._host = host
        self._overridden: tuple[Overrides, Plan] | None = None

    def run(
        self, sid: str, event: str, namespace: str, arguments: tuple[Any, ...] = (), **facts: Any
    ) -> Coroutine[Any, Any, Any]:
        """Handle one event; see `Plan.run`."""
        plan = self.plan
        if self._host.dependency_overrides:
            plan = self._plan_with(self._host.dependency_overrides)
        if plan.needs_connection:
            facts["connection"] = self._host.connection_of(sid, namespace)
        return plan.run(sid, event, namespace, arguments, **facts)

    async def __call__(self, *args: Any) -> Any:
        """Handle one event that is given as python-socketio gives it: its event and namespace first where they vary."""
        given = list(args)
        event, namespace = self.registration.event, self.registration.namespace
        if event == "*":
            event = given.pop(0)
        if namespace == "*":
            namespace = given.pop(0)
        sid, *rest = given
        match event:
            case "connect":
                environ, auth = (*rest, None)[:2]
                arguments = () if auth is None else (auth,)
                return await self.run(sid, event, namespace, arguments, environ=environ, auth=auth)
            case "disconnect":
                return await self.run(sid, event, namespace, reason=rest[0] if rest else None)
            case _:
                return await self.run(sid, event, namespace, tuple(rest))

    def _plan_with(self, overrides: Overrides) -> Plan:
        if self._overridden is None or self._overridden[0] != overrides:
            plan = analyse(
                self.plan.handler,
                self.registration,
                dependencies=self.plan.dependencies,
                overrides=overrides,
            )
            self._overridden = (dict(overrides), plan)
        return self._overridden[1]
