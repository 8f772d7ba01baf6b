"""The hooks of a server for metrics and traces."""

from contextlib import AbstractContextManager, nullcontext

_NOTHING = nullcontext()


class Metrics:
    """Does nothing. Override what you count; each is called on the event loop and must not block.

    What grows and shrinks is read from the server: `AsyncServer.connection_count` and `AsyncServer.unsent_bytes`.
    """

    def connected(self, namespace: str) -> None:
        """Note that a client has joined a namespace."""

    def connection_refused(self, namespace: str, code: int) -> None:
        """Note that a client may not join a namespace; `code` is that of the error, and unknown namespaces are `*`."""

    def disconnected(self, namespace: str, reason: str) -> None:
        """Note that a client has left a namespace."""

    def handling(self, namespace: str, event: str) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return what is around an event while it is handled, `handled` included; the names are as there."""
        return _NOTHING

    def handled(self, namespace: str, event: str, seconds: float, code: int | None) -> None:
        """Note that an event was handled: for how long, and with which error. Events without a handler are `*`."""

    def refused(self, namespace: str, code: int) -> None:
        """Note that an event was refused before anything of it ran: too many, or a reserved name."""

    def dropped(self, reason: str) -> None:
        """Record that a connection was cut.

        The reason is `slow reader`, `too fast`, `too many frames`, `invalid packet`, `no namespace` or `lease expired`.
        """
