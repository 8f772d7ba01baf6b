"""Puts our server and namespaces in the place of python-socketio's, for its own tests."""

import engineio
import pytest
import socketio
from socketio import async_namespace, async_server

from entrypoints.socketio.dispatch import Dispatcher
from entrypoints.socketio.namespace import AsyncNamespace
from entrypoints.socketio.server import AsyncServer

_DIFFERS = {
    "test_handle_connect_with_auth_none_type_error": "a connect handler is never called twice",
    "test_handle_unknown_event_with_ack": "an event without a handler is answered with an error",
    "test_handle_event_binary_ack": "an acknowledgement that was not asked for is ignored",
}


def pytest_configure() -> None:
    """Replace them before the tests import them."""
    # The tests put a mock in the place of engineio's server, and not of ours.
    Dispatcher._engineio_server_class = lambda self: engineio.AsyncServer  # type: ignore[method-assign]
    for module in (socketio, async_server):
        module.AsyncServer = AsyncServer
    for module in (socketio, async_namespace):
        module.AsyncNamespace = AsyncNamespace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect of three tests that they fail; the suite fails if one does not."""
    names = {item.name for item in items}
    assert names >= _DIFFERS.keys(), _DIFFERS.keys() - names
    for item in items:
        if reason := _DIFFERS.get(item.name):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
