"""One HTTP/1.1 connection to an origin: h11 for the heads, a trio stream for the bytes.

HttpFault
  ConnectFailed      no connection came about (name, route, refusal, TLS); nothing was sent
  ConnectTimedOut    ... within the time allowed
  ConnectionCut      it ended in the middle of a response
    StaleConnection  ... of none: a kept connection that the server had given up; safe to try a fresh one
  BadResponse        what came back is not HTTP
"""

import os
import select
import ssl
from collections.abc import Sequence
from contextlib import suppress
from socket import gaierror
from typing import Literal
from urllib.parse import urlsplit

import attrs
import h11
import trio

from understudy.actors.outbound.body import BadFraming, Body, LengthBody, body_of

Headers = list[tuple[bytes, bytes]]

_READ_SIZE = 65_536
_READY_SIZE = 8_192


class HttpFault(Exception):
    """Base of what goes wrong below the level of a status code."""


class ConnectFailed(HttpFault):
    """The origin could not be reached."""


class ConnectTimedOut(ConnectFailed):
    """The origin did not accept the connection, or did not finish the TLS handshake, in time."""


class ConnectionCut(HttpFault):
    """The connection ended before the response did."""


class StaleConnection(ConnectionCut):
    """A connection kept from an earlier request ended before a single byte of this response."""


class BadResponse(HttpFault):
    """The peer does not speak HTTP/1.1."""


@attrs.frozen
class Origin:
    """Where connections go: two URLs of one origin may share a connection."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of *url*. Raises ValueError for anything but an http(s) URL with a host."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not an http(s) URL: {url!r}")
        return cls(
            "https" if parts.scheme == "https" else "http",
            parts.hostname,
            parts.port or (443 if parts.scheme == "https" else 80),
        )

    @property
    def authority(self) -> str:
        """The value of the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = 443 if self.scheme == "https" else 80
        return host if self.port == standard else f"{host}:{self.port}"


@attrs.frozen
class Head:
    """A response's status and headers; names are lower-case."""

    status: int
    headers: Headers

    def header(self, name: bytes) -> str | None:
        """The first value of *name* (lower-case), or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None


class Connection:
    """One request at a time. Not usable after `close`, nor after any method raised or was cancelled."""

    def __init__(self, origin: Origin, stream: trio.abc.Stream, socket: trio.SocketStream) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._stream = stream
        self._socket = socket.socket
        self._tls = stream is not socket
        self._used = False
        self._persistent = False
        self._pending = b""  # what came with the head
        self._body: Body = LengthBody(0)

    async def exchange(self, target: bytes, headers: Headers, body: bytes, method: str = "POST") -> Head:
        """Send a request and return the head of the response. Blocks without a time limit of its own.

        Raises `StaleConnection` only when this connection has served before and no byte came.
        """
        http = h11.Connection(h11.CLIENT)
        opening = http.send(h11.Request(method=method, target=target, headers=headers))
        sent = http.send(h11.Data(body)), http.send(h11.EndOfMessage())
        reused, self._used = self._used, True
        try:
            await self._stream.send_all(b"".join(part for part in (opening, *sent) if part))
        except trio.BrokenResourceError as error:
            # A server may answer (413, 401) and close without reading the whole request: look before giving up.
            if reused:
                raise StaleConnection("the server closed the connection while it was idle") from error
        response = await self._read_head(http, reused)
        self._persistent = response.http_version >= b"1.1" and not any(
            name == b"connection" and b"close" in value.lower() for name, value in response.headers
        )
        head = Head(response.status_code, list(response.headers))
        self._pending = http.trailing_data[0]
        self._body = LengthBody(0) if method == "HEAD" else body_of(head.status, head.headers)
        return head

    def read_ready(self) -> bytes | None:
        """The next bytes of the response's body if they have come already, else None: then `read_body` waits for them.

        Does not block and is no checkpoint. Raises as `read_body` does.
        """
        body = self._body
        if body.done or self._tls:
            return None
        data, self._pending = self._pending, b""
        if not data:
            try:
                data = os.read(self._socket.fileno(), _READY_SIZE)
            except BlockingIOError:
                return None
            except OSError as error:
                raise _reset() from error
            if not data:
                return None  # the end: the kernel says it again
        return self._fed(data) or None

    async def read_body(self) -> bytes:
        """The next bytes of the response's body, as many as have come; empty at its end.

        Raises `ConnectionCut` when the connection ends first, `BadResponse` when the framing is broken.
        """
        body = self._body
        while not body.done:
            data, self._pending = self._pending, b""
            data = data or await self._receive()
            if not data:
                self._persistent = False
                if body.end():
                    break
                raise ConnectionCut("the connection was cut in the middle of the answer")
            piece = self._fed(data)
            if piece:
                return piece
        return b""

    def _fed(self, data: bytes) -> bytes:
        try:
            return self._body.feed(data)
        except BadFraming as error:
            raise BadResponse(f"not a valid HTTP response: {error}") from error

    @property
    def ended(self) -> bool:
        """Whether the response was read to its end."""
        return self._body.done

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: the response has ended, with nothing behind it, and may be followed."""
        body = self._body
        return self._persistent and body.done and not body.rest and not self._pending

    def went_away(self) -> bool:
        """Whether the peer closed (or wrote out of turn) while nothing was asked of it. Does not block."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the socket at once, without a TLS farewell; does not block, may be called twice.

        Bytes that had come and were not read make the kernel reset the connection, so the peer knows at once.
        """
        self._socket.close()

    async def _read_head(self, http: h11.Connection, reused: bool) -> h11.Response:
        silent = True
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as error:
                raise BadResponse(f"not a valid HTTP response: {error}") from error
            if isinstance(event, h11.Response):
                return event
            if event is not h11.NEED_DATA:
                continue  # 1xx: the real one follows
            try:
                data = await self._receive()
            except ConnectionCut as error:
                if silent and reused:
                    raise StaleConnection("the server closed the connection while it was idle") from error
                raise
            if not data and silent and reused:
                raise StaleConnection("the server closed the connection while it was idle")
            if not data:
                raise ConnectionCut("the server closed the connection before it answered")
            silent = False
            http.receive_data(data)

    async def _receive(self) -> bytes:
        try:
            if self._tls:
                return bytes(await self._stream.receive_some(_READ_SIZE))
            # What trio's own stream would do, for a third of the time: most of what a token costs is reading it.
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                with suppress(BlockingIOError):
                    return os.read(self._socket.fileno(), _READ_SIZE)
        except (trio.BrokenResourceError, OSError) as error:
            raise _reset() from error


def _reset() -> ConnectionCut:
    return ConnectionCut("the connection was reset in the middle of the answer")


async def connect(
    origin: Origin, tls: ssl.SSLContext | None, timeout: float, addresses: Sequence[str] = ()
) -> Connection:
    """Open a connection: name, TCP, TLS handshake, all within *timeout* seconds.

    With *addresses* (literal), the name is not resolved: these and no others are tried, in order; the certificate must
    fit the name all the same. *tls* is needed for https. Raises `ConnectFailed` or `ConnectTimedOut`; cancelled means
    closed.
    """
    socket: trio.SocketStream | None = None
    stream: trio.abc.Stream
    done = False
    try:
        with trio.move_on_after(timeout):
            stream = socket = await _open_tcp(origin, addresses)
            if origin.scheme == "https":
                secured = trio.SSLStream(
                    socket, tls or ssl.create_default_context(), server_hostname=origin.host, https_compatible=True
                )
                await secured.do_handshake()
                stream = secured
            done = True
            return Connection(origin, stream, socket)
    except trio.BrokenResourceError as error:
        raise ConnectFailed(f"TLS handshake with {origin.host} failed: {_innermost(error)}") from error
    except OSError as error:
        raise ConnectFailed(f"cannot connect to {origin.host} port {origin.port}: {_innermost(error)}") from error
    finally:
        if socket is not None and not done:
            socket.socket.close()
    raise ConnectTimedOut(f"no connection to {origin.host} port {origin.port} within {timeout:g} s")


async def _open_tcp(origin: Origin, addresses: Sequence[str]) -> trio.SocketStream:
    if not addresses:
        return await trio.open_tcp_stream(origin.host, origin.port)
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            return await trio.open_tcp_stream(address, origin.port)
    return await trio.open_tcp_stream(last, origin.port)


def _innermost(error: BaseException) -> str:
    """The plainest description: the first real cause under the wrapping that trio puts around it."""
    while True:
        cause: BaseException | None = error.__cause__
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if cause is None:
            break
        error = cause
    if isinstance(error, OSError) and not isinstance(error, (gaierror, ssl.SSLError)) and error.errno:
        return os.strerror(error.errno)  # trio's own text repeats the address
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
