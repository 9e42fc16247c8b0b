"""Between the server and quart: one request in, one answer out, and what every answer carries.

quart-trio's own classes run two tasks per request, cancel themselves before a connection is closed, cut streams after a
minute and lose empty messages. Here a request is one task: its body is read first, then its view runs, and the client
leaving cancels both.
"""

from typing import Any, cast

import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from quart_trio.asgi import TrioASGIHTTPConnection, TrioASGIWebsocketConnection

from understudy.actors.metrics.messages import RequestServed
from understudy.http.draining import Draining
from understudy.http.errors import problem
from understudy.http.inbox import Inbox
from understudy.http.operation import openapi_path
from understudy.http.replies import Reply, StreamReply
from understudy.http.request import ApiRequest, request_id
from understudy.http.security import SECURITY_HEADERS
from understudy.http.server import DRAINING

log = structlog.get_logger("understudy.http")

_ALLOWED_HEADERS = (
    b"Authorization, Content-Type, X-Workspace-Id, X-Idempotency-Key, Idempotency-Key, X-Request-ID, X-Api-Key, "
    b"If-Match, If-None-Match, Last-Event-ID, MCP-Protocol-Version, Mcp-Method, Mcp-Name"
)
_EXPOSED_HEADERS = (
    b"ETag, Link, Location, X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "
    b"Idempotency-Replayed"
)
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class HttpConnection(TrioASGIHTTPConnection):
    """One request and its answer."""

    app: Any
    """The `Api`, which is made on top of this."""
    _started = False
    _bytes = 0
    _status = 0

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the request. Cancelled when the client leaves; what it then leaves behind is in the log line."""
        begun = trio.current_time()
        request = cast(ApiRequest, self._create_request_from_scope(send))
        request.id = request_id(request.headers.get("X-Request-Id"))
        state: Any = self.scope.get("state") or {}
        request.draining = state.get(DRAINING) or Draining()
        inbox = getattr(receive, "__self__", None)
        self._inbox = inbox if isinstance(inbox, Inbox) else None
        with trio.CancelScope() as gone:
            if self._inbox is not None:
                self._inbox.on_disconnect = gone.cancel
                if self._inbox.gone:
                    gone.cancel()
            try:
                await self._serve(request, receive, send)
            finally:
                self._log(request, trio.current_time() - begun)

    async def _serve(self, request: ApiRequest, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        settings = request.settings
        reply: Reply | StreamReply
        fault: tuple[str, str] | None = None
        with trio.CancelScope(deadline=trio.current_time() + settings.body_timeout) as patience:
            fault = await self._read_body(request, receive)
        if patience.cancelled_caught:
            fault = ("REQUEST_TIMEOUT", "The request's body took too long to arrive")
        if fault is not None:
            # The rest of the body is not read, so the connection ends here; a client that is not told sends its next
            # request into it. HTTP/2 resets the stream instead, and has no such header.
            closing = ((b"connection", b"close"),) if request.http_version.startswith("1") else ()
            reply = problem(*fault, request.id, headers=closing)
        else:
            request.deadline = trio.current_time() + settings.request_timeout
            with trio.CancelScope(deadline=request.deadline) as limit:
                request.clock = limit
                reply = await self.app.handle_request(request)
            if limit.cancelled_caught:
                reply = problem("TIMEOUT", f"The request took longer than {settings.request_timeout:g} s", request.id)
        if isinstance(reply, StreamReply):
            await self._send_stream(request, send, reply)
        else:
            await self._send_whole(request, send, reply)

    async def _read_body(self, request: ApiRequest, receive: ASGIReceiveCallable) -> tuple[str, str] | None:
        """Read the body into ``request.payload``; returns what is wrong with it, having read no further."""
        most = request.settings.max_body
        too_large = ("PAYLOAD_TOO_LARGE", f"The request's body is larger than {most} bytes")
        length = request.content_length
        if length is not None and length > most:
            return too_large
        message: Any = await receive()
        body = message.get("body", b"")
        while message["type"] == "http.request" and message.get("more_body", False):
            if len(body) > most:
                return too_large
            message = await receive()
            body += message.get("body", b"")
        if len(body) > most:
            return too_large
        request.payload = body
        request.body.set_result(body)
        return None

    async def _send_whole(self, request: ApiRequest, send: ASGISendCallable, reply: Reply) -> None:
        self._bytes = len(reply.body)
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        if reply.status in {204, 304}:  # they have none; a length of 0 would be that of what the client has
            headers.pop()
        await self._start(request, send, reply.status, headers)
        await self._finish(send, reply.body)

    async def _send_stream(self, request: ApiRequest, send: ASGISendCallable, reply: StreamReply) -> None:
        try:
            async with reply.open() as chunks:
                await self._start(request, send, reply.status, list(reply.headers))
                async for chunk in chunks:
                    self._bytes += len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Exception as error:
            if self._started:
                raise  # the status is sent; the server ends the connection without ending the response
            await self._send_whole(request, send, self.app.reply_to(error, request))
        else:
            await self._finish(send, b"")

    async def _start(
        self, request: ApiRequest, send: ASGISendCallable, status: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self._started = True
        self._status = status
        headers.append((b"x-request-id", request.id.encode()))
        headers.extend(SECURITY_HEADERS)
        if request.allowance is not None and request.allowance.limit:
            headers.append((b"ratelimit-limit", b"%d" % request.allowance.limit))
            headers.append((b"ratelimit-remaining", b"%d" % max(0, request.allowance.remaining)))
            headers.append((b"ratelimit-reset", b"%d" % max(0, -int(-request.allowance.reset // 1))))
        if request.settings.cors_origins:
            headers.extend(cors_headers(request))
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})

    async def _finish(self, send: ASGISendCallable, body: bytes) -> None:
        # hypercorn announces a finished response as a disconnect, from within this very send. It must not cancel what
        # is sending, or the connection is neither closed nor made ready for the next request.
        if self._inbox is not None:
            self._inbox.on_disconnect = None
            await send({"type": "http.response.body", "body": body, "more_body": False})
        else:
            with trio.CancelScope(shield=True):
                await send({"type": "http.response.body", "body": body, "more_body": False})

    def _log(self, request: ApiRequest, seconds: float) -> None:
        status = self._status or 499  # 499: the client left before there was an answer
        if request.url_rule is not None:
            served = RequestServed(request.method, openapi_path(request.url_rule.rule), status, seconds)
            self.app.served.append(served)
        log.info(
            "request",
            method=request.method,
            path=request.path,
            status=status,
            ms=round(seconds * 1000, 2),
            bytes=self._bytes,
            client=request.client_address,
            request_id=request.id,
            **request.log_fields,
        )


def cors_headers(request: ApiRequest) -> list[tuple[bytes, bytes]]:
    """What a browser needs to know of an answer to another origin; nothing when that origin is not configured."""
    origins = request.settings.cors_origins
    headers = [(b"vary", b"Origin")]
    origin = request.headers.get("Origin")
    if origin is None or ("*" not in origins and origin not in origins):
        return headers
    headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        headers.append((b"access-control-allow-methods", _METHODS))
        headers.append((b"access-control-allow-headers", _ALLOWED_HEADERS))
        headers.append((b"access-control-max-age", b"600"))
    else:
        headers.append((b"access-control-expose-headers", _EXPOSED_HEADERS))
    return headers


FAILED = "understudy.failed"
"""Key of a WebSocket's ASGI scope: its handler raised."""


class WebsocketConnection(TrioASGIWebsocketConnection):
    """One WebSocket, with two of quart-trio's faults cured."""

    scope: Any

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the WebSocket."""

        async def receive_all() -> Any:
            # quart-trio takes `bytes or text` for the message, which makes an empty binary one None.
            event: Any = await receive()
            if event["type"] == "websocket.receive" and event.get("bytes") == b"":
                return {**event, "bytes": None, "text": b""}
            return event

        async def send_truly(event: Any) -> None:
            # A handler that raised is no normal end, which 1000 would say (RFC 6455 §7.4.1).
            if event["type"] == "websocket.close" and self.scope.get(FAILED):
                event = {**event, "code": 1011}
            await send(event)

        await super().__call__(receive_all, send_truly)
