"""HTTP/1.1 and HTTP/2 as hypercorn speaks them, with the faults that hypercorn 0.18 has on trio cured.

What differs is said at each override; `docs/decisions` has the list, and `tests/http/test_wire.py` holds each to it on
a raw socket. Everything that is answered here is answered before any application is involved, in the same envelope.
"""

import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import h2.events
import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Body, EndBody, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import STREAM_ID, H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup

from understudy.http.envelope import envelope
from understudy.http.inbox import Inbox
from understudy.http.security import SECURITY_HEADERS

log = structlog.get_logger("understudy.http")

MAX_HEADERS = 32 * 1024
"""Bytes that a request's first line and headers may take together."""

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}

_CHUNKED = b"\r\nTransfer-Encoding: chunked\r\n"
"""As h11 writes it into the head of a response whose length nobody knows, to a client that understands chunks."""

_COMPLETE = {h11.DONE, h11.MUST_CLOSE, h11.CLOSED}

_REFUSALS = {
    400: ("VALIDATION", "The request is not valid HTTP"),
    408: ("REQUEST_TIMEOUT", "The request took too long to arrive"),
    431: ("HEADERS_TOO_LARGE", f"The request's headers are larger than {MAX_HEADERS // 1024} KiB"),
    503: ("UNAVAILABLE", "The server was restarted while it served this request; try again"),
    501: ("NOT_IMPLEMENTED", "The request uses a transfer coding that is not supported"),
}


class Wire(ProtocolWrapper):
    """Chooses the protocol of a connection: ours for HTTP/1.1, HTTP/2 when its preface or ALPN says so."""

    def __init__(
        self,
        app: Any,
        config: Config,
        context: Any,
        task_group: "Tasks",
        state: Any,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._tell = send
        self._arguments = (app, config, context, task_group, state, False, client, server, send)
        self.protocol = Http1(*self._arguments)

    async def handle(self, event: Event) -> None:
        """Pass on what happened to the socket; switches to HTTP/2 when the client turns out to speak it."""
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError as preface:
            self.protocol = Http2(*self._arguments)
            await self.protocol.initiate()
            # What looked like a request has come to its end, or the connection would count as busy until its first one.
            await self._tell(Updated(idle=True))
            await self.protocol.handle(RawData(preface.data))
        except H2CProtocolRequiredError as upgrade:
            self.protocol = Http2(*self._arguments)
            await self.protocol.initiate(upgrade.headers, upgrade.settings)
            if upgrade.data:
                await self.protocol.handle(RawData(upgrade.data))

    @property
    def is_http1(self) -> bool:
        """Whether the client speaks HTTP/1.1, as far as is known."""
        return isinstance(self.protocol, Http1)

    async def refuse(self, status: int) -> bool:
        """Answer *status* to a request that never became one, and close; False in HTTP/2, which has no way to."""
        if not isinstance(self.protocol, Http1):
            return False
        await self.protocol.refuse(status)
        return True

    def last_words(self) -> bytes:
        """What to say to a request that will not be answered any more. Does not block."""
        return self.protocol.last_words() if isinstance(self.protocol, Http1) else b""


class Http1(H11Protocol):
    """HTTP/1.1: one write for a whole response, and no answer to a request with two lengths."""

    _head = b""
    _deaf = False
    _chunked = False

    async def handle(self, event: Event) -> None:
        """Take what happened to the socket."""
        if not (self._deaf and isinstance(event, RawData)):
            await super().handle(event)

    async def stream_send(self, event: StreamEvent) -> None:
        """Write what the application sends.

        A head that promises a length waits for its body, so that both leave in one write; the end of a message that
        needs no bytes writes none. The head of a stream leaves at once.
        """
        if type(event) is Body and self._chunked and event.data and self.connection.our_state is h11.SEND_BODY:
            # As h11 frames it, without its ten microseconds: a stream is nothing but chunks. An empty one would end it.
            await self._write(b"%x\r\n%b\r\n" % (len(event.data), event.data))
        elif isinstance(event, Response) and event.status_code >= 200:
            headers = event.headers + self.config.response_headers("h11")
            status = event.status_code
            data = self._encode(h11.Response(headers=headers, status_code=status, reason=_REASONS.get(status, b"")))
            self._chunked = _CHUNKED in data
            if any(name == b"content-length" for name, _ in event.headers):
                self._head = data
            else:
                await self._write(data)
        elif isinstance(event, Body):
            await self._write(self._encode(h11.Data(data=event.data)))
        elif isinstance(event, EndBody):
            await self._write(self._encode(h11.EndOfMessage()))
        else:
            if self._head:
                await self._write(b"")
            await super().stream_send(event)

    def _encode(self, event: Any) -> bytes:
        try:
            return self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return b""  # the client broke off in the middle and has been answered already

    async def _write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            await self.send(RawData(data))

    async def _create_stream(self, request: h11.Request) -> None:
        # RFC 9112 §6.1: a request with both lengths may be one smuggled past a proxy that believed the other length.
        # Whatever follows it on this connection cannot be trusted, so the connection ends here.
        names = [name for name, _ in request.headers]
        if b"content-length" in names and b"transfer-encoding" in names:
            await self.refuse(400)
        else:
            await super()._create_stream(request)

    async def _handle_events(self) -> None:
        # As hypercorn's, but for one thing: bytes behind a request that asked to close the connection are no request,
        # and no reason to throw the answer to that one away. They are not looked at.
        while not self._deaf:
            if self.connection.they_are_waiting_for_100_continue:
                await self.send(RawData(self._encode(h11.InformationalResponse(status_code=100, headers=[]))))
            complete = self.connection.their_state in _COMPLETE
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                if complete and self.stream is not None:
                    self._deaf = True
                else:
                    await self.refuse(error.error_status_hint)
                break
            if isinstance(event, h11.Request):
                await self.send(Updated(idle=False))
                await self._check_protocol(event)
                await self._create_stream(event)
            elif event is h11.PAUSED:
                await self.can_read.clear()
                await self.can_read.wait()
            elif isinstance(event, h11.ConnectionClosed) or event is h11.NEED_DATA or self.stream is None:
                break
            elif isinstance(event, h11.Data):
                await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            else:
                sent: Any = event  # by a WebSocket's client
                await self.stream.handle(sent)

    async def refuse(self, status: int) -> None:
        """Answer *status* in the envelope and close the connection."""
        await self.send(RawData(self.refusal(status)))
        await self.send(Closed())

    def refusal(self, status: int) -> bytes:
        """The bytes that answer *status* in the envelope; none when an answer is under way or no request is."""
        code, message = _REFUSALS.get(status, _REFUSALS[400])
        request_id = str(uuid.uuid4())
        body = envelope(message, code, request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            *SECURITY_HEADERS,
        ]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        try:
            head = self.connection.send(
                h11.Response(
                    headers=headers + self.config.response_headers("h11"),
                    status_code=status,
                    reason=_REASONS.get(status, b""),
                )
            )
            data = self.connection.send(h11.Data(data=body))
            end = self.connection.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            return b""  # an answer is under way already: all that can be done is to close
        client = self.client[0] if self.client is not None else None
        log.info("request refused", status=status, code=code, request_id=request_id, client=client)
        return (head or b"") + (data or b"") + (end or b"")

    def last_words(self) -> bytes:
        """What to say to a request that will not be answered any more; nothing when its answer has begun."""
        waiting = self.stream is not None and self.connection.our_state is h11.SEND_RESPONSE
        return self.refusal(503) if waiting else b""


class Http2(H2Protocol):
    """HTTP/2, told to ignore what is still in flight to a stream that has been answered."""

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                # hypercorn looks the stream up and dies of a KeyError, and with it the connection's other streams.
                self.connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            else:
                await super()._handle_events([event])
                if isinstance(event, h2.events.StreamReset) and not self.streams:
                    # hypercorn tells only of streams that the application ended; this connection would stay busy.
                    await self.send(Updated(idle=True))
        await self._flush()


class Tasks(TaskGroup):
    """The tasks of one connection: each request's application runs in one, with an `Inbox` for its mail."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = self._tasks = nursery

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Start the application for *scope*; returns what puts messages into its inbox. Does not block."""
        inbox = Inbox()
        self._tasks.start_soon(_run_app, app, scope, inbox, send)
        return inbox.put

    def spawn(self, func: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a task of the protocol's own."""
        self._tasks.start_soon(func, *args)


async def _run_app(app: Any, scope: Any, inbox: Inbox, send: Callable[[Any], Awaitable[None]]) -> None:
    try:
        await app(scope, inbox.receive, send)
    except Exception:
        # The application answers its own errors; what comes this far failed while it did so. The connection ends.
        log.exception("application failed", path=scope.get("path"))
    finally:
        inbox.close()
    await send(None)
