"""A slim HTTP/1.1 client for model providers: POST, streamed answer, kept connections, and nothing else.

Why not httpx: docs/decisions records the measurement. No redirects, cookies, proxies, compression or HTTP/2. A URL that
is the operator's own setting is not guarded; for one that came from somebody else, give it the guard of
`understudy.actors.outbound.guarded`.
"""

import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from understudy.actors.outbound.connection import (
    Connection,
    ConnectTimedOut,
    Head,
    Headers,
    Origin,
    StaleConnection,
    connect,
)

Guard = Callable[[Origin], Awaitable[Sequence[str]]]
"""Gives the addresses of an origin that may be connected to; raises when there are none."""


@attrs.frozen
class PoolStatistics:
    """Connections opened, requests served by a kept one, kept ones found dead, and how many are idle now."""

    opened: int
    reused: int
    stale: int
    idle: int


class Response:
    """A response whose body is being read. Whoever got it must `release` it."""

    def __init__(self, head: Head, connection: Connection, keep: Callable[[Connection], None]) -> None:
        self.head = head
        self._connection = connection
        self._keep = keep
        self._released = False

    async def read(self) -> bytes:
        """The next bytes of the body, as many as have come; empty at its end. No time limit of its own.

        Raises `ConnectionCut` when the connection ends before the body does.
        """
        return await self._connection.read_body()

    def read_ready(self) -> bytes | None:
        """The next bytes of the body if they have come already; None when `read` must wait for them. No checkpoint."""
        return self._connection.read_ready()

    @property
    def ended(self) -> bool:
        """Whether the body was read to its end."""
        return self._connection.ended

    def release(self) -> None:
        """Keep the connection for another request if the body was read to its end, else close it at once.

        Does not block, so it is safe while being cancelled; may be called twice.
        """
        if not self._released:
            self._released = True
            if self._connection.reusable:
                self._keep(self._connection)
            else:
                self._connection.close()


class Http1Client:
    """Sends POST requests and keeps finished connections for the next one, at most *max_idle* for each origin.

    With a *guard*, connections are made to the addresses that it gives for an origin, and to no others.

    A kept connection is used again within *idle_seconds*, newest first. One that the server closed meanwhile is noticed
    before use; one that closes under our request, before any byte of the answer, is replaced by a fresh one, once.
    """

    def __init__(
        self,
        *,
        max_idle: int = 32,
        idle_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._tls = tls
        self._idle: dict[Origin, deque[Connection]] = {}
        self._closed = False
        self._opened = self._reused = self._stale = 0

    async def post(
        self, origin: Origin, target: bytes, headers: Headers, body: bytes, *, connect_timeout: float
    ) -> Response:
        """Send the request and return the response once its head has come; `Response.release` it afterwards.

        *headers* must hold ``host`` and ``content-length``. *connect_timeout* (seconds) bounds name, TCP and TLS; all
        else waits as long as the caller's own scopes allow. Cancelled means closed. Raises `HttpFault`, and what the
        guard raises.
        """
        kept = self._take(origin)
        if kept is not None:
            try:
                return Response(await _exchange_on(kept, target, headers, body), kept, self._keep)
            except StaleConnection:
                self._stale += 1
        if origin.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()  # reads the system's certificates: once, and only when needed
        addresses = await self._allowed(self._guard, origin, connect_timeout) if self._guard is not None else ()
        fresh = await connect(origin, self._tls, connect_timeout, addresses)
        self._opened += 1
        return Response(await _exchange_on(fresh, target, headers, body), fresh, self._keep)

    def statistics(self) -> PoolStatistics:
        """A snapshot of the counters."""
        return PoolStatistics(self._opened, self._reused, self._stale, sum(map(len, self._idle.values())))

    def close(self) -> None:
        """Close the idle connections and keep none from now on. Does not block; may be called twice."""
        self._closed = True
        for kept in self._idle.values():
            while kept:
                kept.pop().close()
        self._idle.clear()

    async def _allowed(self, guard: Guard, origin: Origin, timeout: float) -> Sequence[str]:
        with trio.move_on_after(timeout):
            return await guard(origin)
        raise ConnectTimedOut(f"no address of {origin.host} within {timeout:g} s")

    def _take(self, origin: Origin) -> Connection | None:
        kept = self._idle.get(origin)
        oldest = trio.current_time() - self._idle_seconds
        while kept:
            connection = kept.pop()
            if connection.idle_since >= oldest and not connection.went_away():
                self._reused += 1
                return connection
            self._stale += 1
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        kept = self._idle.setdefault(connection.origin, deque())
        now = connection.idle_since = trio.current_time()
        while kept and (len(kept) >= self._max_idle or kept[0].idle_since < now - self._idle_seconds):
            kept.popleft().close()
        if self._closed or self._max_idle < 1:
            connection.close()
        else:
            kept.append(connection)


async def _exchange_on(connection: Connection, target: bytes, headers: Headers, body: bytes) -> Head:
    try:
        return await connection.exchange(target, headers, body)
    except BaseException:  # cancelled too: behind half an exchange nobody knows whose answer comes next
        connection.close()
        raise
