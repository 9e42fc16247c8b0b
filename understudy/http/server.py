"""Accept connections on sockets that somebody else has bound, and serve an ASGI application on them.

hypercorn speaks the protocols; accepting, timing, writing and stopping are ours. What `hypercorn.trio.serve` also does
and we do not need is left out: TLS (a proxy's business), QUIC, lifespan events, statsd, several workers.
"""

import errno
import resource
import socket
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import attrs
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from understudy.http.connection import Connection
from understudy.http.draining import Draining, Phase
from understudy.http.envelope import envelope
from understudy.http.limits import WireLimits
from understudy.http.protocol import MAX_HEADERS

log = structlog.get_logger("understudy.http")

DRAINING = "understudy.draining"
"""Key of the ASGI scope's ``state``: the server's `Draining`, by which streams learn that it stops."""

_LAST_WORDS = 1.0

_ACCEPTED_AT_ONCE = 64
_FILES_KEPT_BACK = 128
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Config(Config):
    """hypercorn's settings that matter here; each has a reason in `docs/decisions`."""

    accesslog: Any = None
    errorlog: Any = None
    include_server_header = False
    h11_max_incomplete_size = MAX_HEADERS
    keep_alive_max_requests = 2**63
    websocket_max_message_size = 1024 * 1024
    websocket_ping_interval: float | None = 30.0

    _date: tuple[int, list[tuple[bytes, bytes]]] = (-1, [])

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """The headers of every response: its date, made once a second."""
        second = int(trio.current_time())
        if self._date[0] != second:
            self._date = (second, [(b"date", formatdate(usegmt=True).encode())])
        return self._date[1]


@attrs.frozen
class ServerStatistics:
    """``open`` connections now, of which ``busy`` have a request under way, and open event streams.

    The rest counts since the start.
    """

    open: int
    busy: int
    streams: int
    accepted: int
    refused: int


class Server:
    """One ASGI application on some listening sockets.

    The sockets stay the caller's: they are duplicated, and closing this server leaves them listening.
    """

    def __init__(self, app: Any, sockets: Sequence[socket.socket], limits: WireLimits | None = None) -> None:
        self._app = app
        self._sockets = [sock.dup() for sock in sockets]
        for sock in self._sockets:
            sock.setblocking(False)
        self._limits = limits or WireLimits()
        self._most = min(self._limits.max_connections, max(16, _most_files() - _FILES_KEPT_BACK))
        self._config = _Config()
        self._context = WorkerContext(None)
        self._draining = Draining()
        self._connections: set[Connection] = set()
        self._accepting = trio.CancelScope()
        self._left = trio.Event()
        self._accepted = 0
        self._refused = 0

    @property
    def streams(self) -> int:
        """How many event streams are open."""
        return self._draining.streams

    def statistics(self) -> ServerStatistics:
        """How many connections there are and have been. Does not block."""
        busy = sum(connection.busy for connection in self._connections)
        return ServerStatistics(len(self._connections), busy, self.streams, self._accepted, self._refused)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `drain` is done, or until cancelled: then every connection is closed at once."""
        try:
            async with trio.open_nursery() as nursery:
                try:
                    task_status.started()
                    with self._accepting:
                        async with trio.open_nursery() as acceptors:
                            for sock in self._sockets:
                                acceptors.start_soon(self._accept, sock, nursery)
                    self._close_sockets()
                    await self._wait_empty()
                finally:
                    # Each closes its socket before it is cancelled, so that no slow client can hold a shielded write.
                    for connection in tuple(self._connections):
                        connection.give_up()
        finally:
            self._close_sockets()

    async def drain(self, within: float) -> None:
        """Stop accepting, let requests in flight finish for at most *within* seconds, then close what is left.

        Streams that do not end by themselves are told to at once, the others a second before the time is up. Returns
        when no connection is left.
        """
        await self._context.terminated.set()
        self._accepting.cancel()
        for connection in tuple(self._connections):
            connection.drain()
        self._draining.enter(Phase.DRAINING)
        with trio.move_on_after(max(within - _LAST_WORDS, within / 2)):
            await self._wait_empty()
        self._draining.enter(Phase.CLOSING)
        with trio.move_on_after(min(_LAST_WORDS, within / 2)):
            await self._wait_empty()
        for connection in tuple(self._connections):
            connection.give_up()
        await self._wait_empty()

    async def _wait_empty(self) -> None:
        while self._connections:
            await self._left.wait()

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        short_of_files = False
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(_ACCEPTED_AT_ONCE):
                    sock, _address = listener.accept()
                    self._take(sock, nursery)
                    short_of_files = False
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    if not short_of_files:
                        log.error("out of files: new connections wait", open=len(self._connections))  # noqa: TRY400  # why is known
                    short_of_files = True
                    await trio.sleep(0.1)
                # Anything else is a client that left before it was accepted (accept(2)).

    def _take(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        if len(self._connections) >= self._most:
            self._refused += 1
            self._turn_away(sock)
            return
        self._accepted += 1
        state = ConnectionState({DRAINING: self._draining})
        connection = Connection(self._app, self._config, self._context, state, sock, self._limits)
        self._connections.add(connection)
        nursery.start_soon(self._run, connection)

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._left.set()
            self._left = trio.Event()

    def _turn_away(self, sock: socket.socket) -> None:
        body = envelope("The server has all the connections it can hold; try again", "UNAVAILABLE", "none")
        with sock:
            sock.setblocking(False)
            try:
                sock.send(
                    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
                    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
                )
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # gone already

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            if sock.fileno() >= 0:
                trio.lowlevel.notify_closing(sock)
                sock.close()


def _most_files() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
