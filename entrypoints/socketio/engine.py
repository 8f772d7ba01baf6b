"""Engine.IO, bounded: what waits to be sent, how long an upgrade takes, and what comes of invalid packets."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import engineio
import structlog
from engineio.async_drivers import asgi
from engineio.async_socket import AsyncSocket
from engineio.exceptions import EngineIOError
from engineio.packet import CLOSE, MESSAGE, NOOP, PING, PONG, UPGRADE, Packet

from entrypoints.socketio.limits import Limits
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.protocol import TOO_MANY_FRAMES

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.socketio")

_PACKET_COST = 200
"""Bytes that a packet occupies besides its data, so that a queue of empty ones is bounded too."""


class UnsentQueue(asyncio.Queue[Any]):
    """The packets that wait to be sent to one client. `None` is the end."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.unsent = 0
        """Bytes."""
        self.on_full: Callable[[], object] | None = None
        """Called once, when there is more than the limit."""
        self._limit = limit
        self._has_ended = False

    def end(self, *, discard: bool) -> None:
        """Take nothing any more, and let the writer stop once it has sent what is there, or at once."""
        if self._has_ended:
            return
        self._has_ended = True
        while discard and not self.empty():
            self.get_nowait()
        self.put_nowait(None)

    def put_nowait(self, item: Any) -> None:
        if item is None or not self._has_ended:
            super().put_nowait(item)

    def _put(self, item: Any) -> None:
        if item is not None:
            self.unsent += _cost(item)
            if self.unsent > self._limit and self.on_full is not None:
                on_full = self.on_full
                self.on_full = None
                on_full()
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        if item is not None:
            self.unsent -= _cost(item)
        return item


def _cost(packet: Any) -> int:
    return _PACKET_COST + (len(packet.data) if packet.data else 0)


class Socket(AsyncSocket):  # type: ignore[misc]  # python-engineio has no types
    """One connection."""

    connected: bool
    last_ping: float | None
    """When the ping was sent that has no answer yet, in seconds; None if there is none."""
    _timer: asyncio.TimerHandle | None = None
    """Sends the next ping, or ends the connection if the last one has no answer in time."""

    async def close(
        self,
        wait: bool = True,  # noqa: ARG002, FBT001, FBT002  the signature is python-engineio's
        abort: bool = False,  # noqa: FBT001, FBT002
        reason: str | None = None,
    ) -> None:
        """End the connection, and every task that still writes to it or waits in a poll.

        It does not wait until the client has read everything, which may never happen.
        """
        await super().close(wait=False, abort=abort, reason=reason)
        self.queue.end(discard=abort)
        if self._timer is not None:
            self._timer.cancel()

    def schedule_ping(self) -> None:
        # python-engineio has a task for it, which keeps all of a closed connection until it ends.
        if self.last_ping:
            self.last_ping = None
            self._set_timer(self.server.ping_interval, self._ping)

    def _ping(self) -> None:
        if not self.closing and not self.closed:
            self.last_ping = time.time()
            self.queue.put_nowait(Packet(PING))
            self._set_timer(self.server.ping_timeout, self._miss)

    def _miss(self) -> None:
        self.server.start_background_task(self.close, reason=self.server.reason.PING_TIMEOUT)

    def _set_timer(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def receive(self, pkt: Packet) -> Awaitable[None]:
        # python-engineio ignores or answers all others, however many a client sends.
        kind = pkt.packet_type
        if kind in {MESSAGE, CLOSE} or (kind == PONG and self.last_ping):
            return super().receive(pkt)  # type: ignore[no-any-return]
        return self.server.drop_invalid(self.sid, ValueError("not a packet of a client"))  # type: ignore[no-any-return]

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        try:
            await super().handle_post_request(environ)
        except EngineIOError:
            raise  # has an answer
        except Exception as error:  # noqa: BLE001  a client can send any payload
            await self.server.drop_invalid(self.sid, error)

    async def _websocket_handler(self, ws: "WebSocket") -> None:
        # python-engineio's has two tasks and two timers more for each event and its ack.
        try:
            if not self.connected or await self._is_upgraded(ws):
                self.connected = self.upgraded = True
                await self._talk(ws)
        except Exception as error:  # noqa: BLE001  a client can send any packet
            await self.server.drop_invalid(self.sid, error)
            await ws.close()

    async def _is_upgraded(self, ws: "WebSocket") -> bool:
        """Let a client that polls go on by WebSocket; return whether it takes each step in time."""
        self.upgrading = True
        try:
            probe = await self._step(ws)
            if (probe.packet_type, probe.data) != (PING, "probe"):
                return False
            await ws.send(Packet(PONG, "probe").encode())
            self.queue.put_nowait(Packet(NOOP))  # ends the poll
            return (await self._step(ws)).packet_type == UPGRADE  # type: ignore[no-any-return]
        except OSError:  # a TimeoutError is one
            return False
        finally:
            self.upgrading = False

    async def _step(self, ws: "WebSocket") -> Packet:
        async with asyncio.timeout(self.server.limits.upgrade_timeout):
            message = await ws.wait()
        if len(message) > self.server.max_http_buffer_size:
            raise ValueError("too large")
        return Packet(encoded_packet=message)

    async def _talk(self, ws: "WebSocket") -> None:
        """Read and write until the connection ends."""
        # In tasks of their own, since what waits here is called from ten coroutines that would be resumed too.
        reading = asyncio.create_task(self._read(ws))
        writing = asyncio.create_task(self._write(ws))
        try:
            await asyncio.wait([reading])
        except asyncio.CancelledError:
            reading.cancel()  # the server stops
        self.queue.end(discard=False)
        # Once more: of a session that was closed meanwhile, a poll may have taken the end.
        self.queue.put_nowait(None)
        await writing
        await self.close(abort=True, reason=self.server.reason.TRANSPORT_CLOSE)

    async def _read(self, ws: "WebSocket") -> None:
        try:
            while not self.closed:
                message = await ws.wait()
                if len(message) > self.server.max_http_buffer_size:
                    break
                await self.receive(Packet(encoded_packet=message))
                # What it began runs before the next: a burst of short events is not too many at once.
                await asyncio.sleep(0)
        except OSError:
            pass  # the connection has ended
        except Exception as error:  # noqa: BLE001  a client can send any packet
            await self.server.drop_invalid(self.sid, error)

    async def _write(self, ws: "WebSocket") -> None:
        # ASGI servers raise what they like when the connection has ended.
        with suppress(Exception):
            while (packet := await self.queue.get()) is not None:
                await ws.send(packet.encode())
        await ws.close()


class WebSocket(asgi.WebSocket):  # type: ignore[misc]
    """The messages of a connection, which counts that the protocol has cut it."""

    def __init__(self, handler: Any, server: "Engine") -> None:
        super().__init__(handler, server)
        self._metrics = server.metrics

    async def wait(self) -> str | bytes:
        message = await self.asgi_receive()
        if message["type"] != "websocket.receive":
            if message.get("reason") == TOO_MANY_FRAMES:
                self._metrics.dropped(TOO_MANY_FRAMES)
            raise OSError
        text = message.get("text")
        return message["bytes"] if text is None else text  # type: ignore[no-any-return]


class Engine(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO over ASGI."""

    limits = Limits()
    metrics = Metrics()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._async: dict[str, Any] = {**self._async, "websocket": WebSocket}

    def async_modes(self) -> list[str]:
        return ["asgi"]  # the first that could be imported would be taken, and that is aiohttp

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> Any:
        """Run a coroutine in a task, which is returned, and kept while it runs."""
        task = asyncio.get_running_loop().create_task(target(*args, **kwargs))
        _running.add(task)
        task.add_done_callback(_running.discard)
        return task

    def create_queue(self, *_: Any, **__: Any) -> UnsentQueue:
        return UnsentQueue(self.limits.max_unsent_bytes)

    async def send_packet(self, sid: str, pkt: Packet) -> None:
        """Send a packet; a client may go at any time, which python-engineio warns of."""
        try:
            socket = self._get_socket(sid)
        except KeyError:
            return
        await socket.send(pkt)

    def unsent_bytes(self) -> int:
        """Return how many bytes wait to be sent, to all clients together."""
        return sum(socket.queue.unsent for socket in self.sockets.values())

    async def drop(self, sid: str, reason: str, *, discard: bool = False) -> None:
        """Cut a connection, however it behaves; its disconnect handlers run. Unknown ones are ignored.

        It gets what waits to be sent unless `discard` is true.
        """
        socket = self.sockets.get(sid)
        if socket is None or socket.closed or socket.closing:
            return
        self.metrics.dropped(reason)
        _log.info("connection dropped", eio_sid=sid, reason=reason)
        # Before its disconnect handlers run, which may take their time.
        socket.queue.end(discard=discard)
        await socket.close(abort=True, reason=self.reason.TRANSPORT_ERROR)
        self.sockets.pop(sid, None)

    async def drop_invalid(self, sid: str, error: Exception) -> None:
        """Cut the connection of a client that does not speak the protocol; ignore what it sent after that."""
        socket = self.sockets.get(sid)
        if socket is None or socket.closed or socket.closing:
            return
        _log.info("invalid packet", eio_sid=sid, reason=str(error)[:200])
        await self.drop(sid, "invalid packet", discard=True)

    async def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
        if event == "message":
            socket = self.sockets.get(args[0])
            if socket is None or socket.closing or socket.closed:
                return None  # it was on the way when the connection was cut
            try:
                await self.handlers["message"](*args)
            except Exception as error:  # noqa: BLE001  handlers fail elsewhere; here it is the packet
                await self.drop_invalid(args[0], error)
            return None
        if event == "connect":
            socket = self.sockets[args[0]]
            socket.__class__ = Socket  # engineio has no setting for the class of its sockets
            socket.queue.on_full = partial(self._on_full, args[0])
        return await super()._trigger_event(event, *args, **kwargs)

    def _on_full(self, sid: str) -> None:
        self.start_background_task(self.drop, sid, "slow reader", discard=True)


_running: set[asyncio.Task[Any]] = set()
"""Event loops keep only weak references to tasks."""
