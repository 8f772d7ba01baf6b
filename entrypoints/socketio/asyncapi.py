"""The AsyncAPI 3 document of a server: what clients may send, what comes back, and what the server sends."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, create_model

from entrypoints.socketio.errors import Envelope
from entrypoints.socketio.plan import Argument, Plan
from entrypoints.socketio.server import AsyncServer

Schema = dict[str, Any]

_RESERVED = ("connect", "disconnect")

# Before Python 3.12, Pydantic takes no `TypedDict` of the standard library.
_FIELDS: dict[str, Any] = {name: (type_, ...) for name, type_ in get_type_hints(Envelope).items()}
_ERROR = create_model("Error", **_FIELDS)


@dataclass(frozen=True, slots=True)
class _Message:
    """The payload of an event, or of its ack."""

    namespace: str
    event: str
    payload: Schema
    suffix: str = ""
    """Distinguishes it from other messages with the event."""

    @property
    def channel(self) -> str:
        return _key(self.namespace.strip("/")) or "default"

    @property
    def key(self) -> str:
        return _key(self.event) + self.suffix

    @property
    def reference(self) -> Schema:
        return {"$ref": f"#/channels/{self.channel}/messages/{self.key}"}


def asyncapi(sio: AsyncServer, *, title: str, version: str, description: str = "") -> Schema:
    """Return the document of the handlers that have plans, and of the events that `register_emit` declared.

    Each namespace is a channel. The payload of an event is its argument if it has one, and an array of them otherwise;
    that of an ack is what the handler returns, or the error under `error`.
    """
    plans = {
        key: handler.plan
        for key, handler in sorted(sio.planned_handlers.items())
        if key[1] not in _RESERVED
    }
    namespaces = sorted({"/", *sio.handlers, *sio.namespace_handlers} - {"*"})
    emits = {(namespace, "error"): _ERROR for namespace in namespaces} | sio.emits
    schemas = _Schemas(plans, emits)
    channels: Schema = {}
    operations: Schema = {}

    def add(message: _Message) -> Schema:
        channel = channels.setdefault(
            message.channel, {"address": message.namespace, "messages": {}}
        )
        channel["messages"][message.key] = {"name": message.event, "payload": message.payload}
        return message.reference

    for (namespace, event), plan in plans.items():
        message = _Message(namespace, event, schemas.arguments(plan))
        ack = _Message(namespace, event, schemas.ack(plan), "_ack")
        channel = {"$ref": f"#/channels/{message.channel}"}
        operations[f"receive_{message.channel}_{message.key}"] = {
            "action": "receive",
            "channel": channel,
            "summary": (inspect.getdoc(plan.handler) or event).partition("\n")[0],
            "messages": [add(message)],
            "reply": {"channel": channel, "messages": [add(ack)]},
        }
    for namespace, event in sorted(emits):
        suffix = "_emitted" if (namespace, event) in plans else ""
        message = _Message(namespace, event, schemas.emitted(namespace, event), suffix)
        operations[f"send_{message.channel}_{message.key}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{message.channel}"},
            "messages": [add(message)],
        }
    return {
        "asyncapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"schemas": schemas.definitions},
    }


class _Schemas:
    """JSON schemas of all types of a document, with the models that they share."""

    def __init__(
        self, plans: Mapping[tuple[str, str], Plan], emits: Mapping[tuple[str, str], Any]
    ) -> None:
        arguments = [argument for plan in plans.values() for argument in plan.arguments]
        inputs: list[tuple[Any, Any, TypeAdapter[Any]]] = [
            (id(argument), "validation", argument.adapter) for argument in arguments
        ]
        inputs += [
            (id(plan), "serialization", TypeAdapter(_returned(plan))) for plan in plans.values()
        ]
        inputs += [(key, "serialization", TypeAdapter(type_)) for key, type_ in emits.items()]
        inputs += [("error", "serialization", TypeAdapter(_ERROR))]
        found, shared = TypeAdapter.json_schemas(
            inputs, ref_template="#/components/schemas/{model}"
        )
        self._found = {key: schema for (key, _), schema in found.items()}
        self.definitions: Schema = shared.get("$defs", {})

    def arguments(self, plan: Plan) -> Schema:
        """Return what a client sends."""
        single = [argument for argument in plan.arguments if not argument.is_rest]
        rest = [argument for argument in plan.arguments if argument.is_rest]
        if len(single) == 1 and not rest:
            return self._of(single[0])
        return {
            "type": "array",
            "prefixItems": [self._of(argument) for argument in single],
            "items": self._of(rest[0]) if rest else True,
            "minItems": sum(argument.is_required for argument in single),
        }

    def ack(self, plan: Plan) -> Schema:
        """Return what comes back."""
        failed = {
            "type": "object",
            "properties": {"error": self._found["error"]},
            "required": ["error"],
        }
        return {"anyOf": [self._found[id(plan)], failed]}

    def emitted(self, namespace: str, event: str) -> Schema:
        """Return what the server sends."""
        schema: Schema = self._found[namespace, event]
        return schema

    def _of(self, argument: Argument) -> Schema:
        schema: Schema = self._found[id(argument)]
        return schema


def _returned(plan: Plan) -> Any:
    return Any if plan.returns is inspect.Signature.empty else plan.returns


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
