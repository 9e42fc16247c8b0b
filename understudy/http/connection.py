"""One connection: read, hand to the protocol, write, and close in time.

This stands where hypercorn's `TCPServer` does. It differs in what `docs/decisions` lists: no task per request to watch
for idleness but one deadline, writes tried at once without a scheduler round trip, no wait that a silent client can
stretch without end, and a closed connection is really closed.
"""

import socket
from typing import Any

import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from understudy.http.limits import WireLimits
from understudy.http.protocol import Tasks, Wire

log = structlog.get_logger("understudy.http")

MAX_RECEIVE = 64 * 1024
MAX_DISCARDED = 8 * 1024 * 1024


class Connection:
    """The server's half of one TCP connection."""

    def __init__(
        self,
        app: Any,
        config: Config,
        context: WorkerContext,
        state: ConnectionState,
        sock: socket.socket,
        limits: WireLimits,
    ) -> None:
        sock.setblocking(False)
        self._app = app
        self._config = config
        self._context = context
        self._state = state
        self._socket = sock
        self._limits = limits
        self._writing = trio.Lock()
        self._deadline = trio.current_time() + limits.header_timeout
        self._reading: trio.CancelScope | None = None
        self._handling: trio.CancelScope | None = None
        self._reader: trio.lowlevel.Task | None = None
        self._scope = trio.CancelScope()
        self._partial = False
        self._discarded = 0
        self._draining = False
        self._closing = False
        self._closed = False
        self.busy = False

    async def run(self) -> None:
        """Serve the connection until either side closes it.

        Raises nothing. Cancelled, it closes at once; a client that waits for its answer is told that none will come.
        """
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client, server = _address(self._socket.getpeername()), _address(self._socket.getsockname())
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                self._wire = Wire(
                    self._app,
                    self._config,
                    self._context,
                    Tasks(nursery),
                    self._state,
                    client,
                    server,
                    self._on_event,
                )
                await self._read()
                # The applications have been told; what the protocol runs beside them (HTTP/2's sender) ends with them.
        except* OSError:
            pass  # the client left while we looked: nobody to tell
        except* Exception:
            log.exception("connection failed")
        finally:
            self.give_up()

    def drain(self) -> None:
        """Take no further request: an idle connection is closed now, a busy one after its response."""
        self._draining = True
        if not self.busy:
            self._set_deadline(trio.current_time())

    def give_up(self) -> None:
        """Abort, but tell a client that still waits for the beginning of its answer that it will not come."""
        if self.busy and not self._closed and not self._closing and not self._writing.locked():
            try:
                self._socket.send(self._wire.last_words())
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it cannot be told
        self.abort()

    def abort(self) -> None:
        """Close the socket at once, and cancel what is under way on it."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._scope.cancel()

    # Reading: this task alone reads, and so it is the one that closes.

    async def _read(self) -> None:
        self._reader = trio.lowlevel.current_task()
        while True:
            data = await self._receive()
            if not data:
                break
            if self._closing:
                # What was sent to a connection that is being closed is read and thrown away: closing on top of unread
                # data makes the kernel send a reset, which can destroy the answer on its way to the client.
                self._discarded += len(data)
                if self._discarded > MAX_DISCARDED:
                    break
                continue
            # Not in HTTP/2: it has frames that belong to no request, and its idle time bounds it alone.
            if not self.busy and not self._partial and self._wire.is_http1:
                self._partial = True
                self._deadline = trio.current_time() + self._limits.header_timeout
            with trio.CancelScope() as self._handling:
                await self._wire.handle(RawData(data))
        await self._wire.handle(Closed())

    async def _receive(self) -> bytes:
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._reading:
                try:
                    await trio.lowlevel.wait_readable(self._socket)
                    return self._socket.recv(MAX_RECEIVE)
                except BlockingIOError:
                    continue
                except (OSError, trio.ClosedResourceError):
                    return b""
            if trio.current_time() < self._deadline:
                continue  # it was moved while we waited
            late = self._partial and not self.busy and not self._closing and not self._draining
            if late and await self._wire.refuse(408):
                continue  # for as long as it lingers
            return b""

    def _set_deadline(self, when: float) -> None:
        self._deadline = when
        if self._reading is not None:
            self._reading.deadline = when

    # Writing: the protocol's events, in the order it gives them.

    async def _on_event(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Updated):
            self.busy = not event.idle
            self._partial = False
            if self.busy:
                self._deadline = float("inf")
            elif self._draining:
                self._set_deadline(trio.current_time())
            else:
                self._set_deadline(trio.current_time() + self._limits.keep_alive_timeout)
        elif isinstance(event, Closed):
            self._half_close()
            await self._wire.handle(Closed())

    async def _write(self, data: bytes) -> None:
        if not data or self._closing or self._closed:
            return
        if not self._writing.locked():
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                await self._lost()
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._writing.acquire_nowait()
        else:
            with trio.CancelScope(shield=True):
                await self._writing.acquire()
        # Half a write cannot be taken back, so a cancelled application does not cut it. A client that takes nothing
        # for `write_timeout` loses its connection, and aborting the connection ends the wait at once.
        try:
            if not await self._write_slowly(memoryview(data)):
                await self._lost()
        finally:
            self._writing.release()

    async def _write_slowly(self, data: memoryview) -> bool:
        while data:
            with trio.CancelScope(deadline=trio.current_time() + self._limits.write_timeout, shield=True) as patience:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                    data = data[self._socket.send(data) :]
                except BlockingIOError:
                    continue
                except (OSError, trio.ClosedResourceError):
                    return False
            if patience.cancelled_caught:
                return False
        return True

    async def _lost(self) -> None:
        self.abort()
        await self._wire.handle(Closed())

    def _half_close(self) -> None:
        """Say that we send no more, and give the client a moment to read it and close its side."""
        if self._closing or self._closed:
            return
        self._closing = True
        if self._handling is not None and trio.lowlevel.current_task() is not self._reader:
            # The reader may hold a pipelined request back until this response is done. It will never be served now.
            self._handling.cancel()
        self._set_deadline(trio.current_time() + self._limits.linger)
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()


def _address(raw: Any) -> tuple[str, int] | None:
    return (raw[0], raw[1]) if isinstance(raw, tuple) else None
