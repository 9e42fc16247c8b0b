"""The `openai` provider: any server that speaks OpenAI's chat completions, streamed."""

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec
import trio

from understudy.actors.inference.assembler import Assembler
from understudy.actors.inference.errors import UpstreamFailed, UpstreamTimedOut
from understudy.actors.inference.messages import ModelEvent, ModelRequest
from understudy.actors.inference.openai_wire import describe_error, encode_request
from understudy.actors.inference.sse import EventTooLong, SseDecoder
from understudy.actors.inference.timeouts import Stopwatch, Timeouts
from understudy.actors.outbound.connection import ConnectFailed, ConnectTimedOut, Head, Headers, HttpFault, Origin
from understudy.actors.outbound.http1 import Http1Client, PoolStatistics, Response

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
_ERROR_BODY = 16 * 1024
_LINGER = 0.05  # seconds granted to the last bytes of a finished response, so that its connection can be kept
_AFTER_REASON = 2.0  # seconds granted to usage and [DONE] after the finish reason: some servers send neither


class OpenAIClient:
    """Speaks to one base URL with one key. *name* is what errors call the provider."""

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        *,
        name: str = "openai",
        timeouts: Timeouts | None = None,
        http: Http1Client | None = None,
    ) -> None:
        self._name = name
        self._timeouts = timeouts or Timeouts()
        self._http = http or Http1Client()
        self._origin = Origin.of(base_url)
        self._target = f"{urlsplit(base_url).path.rstrip('/')}/chat/completions".encode()
        self._key = api_key
        # OpenAI's newer models refuse `max_tokens`; most compatible servers know no other name.
        self._limit_field = "max_completion_tokens" if self._origin.host == "api.openai.com" else "max_tokens"
        self._headers = [
            (b"host", self._origin.authority.encode()),
            (b"content-type", b"application/json"),
            (b"accept", b"text/event-stream"),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"understudy"),
        ]
        if api_key:
            self._headers.append((b"authorization", f"Bearer {api_key}".encode()))

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """See `ModelClient.stream`."""
        body = encode_request(request, token_limit_field=self._limit_field)
        headers = [*self._headers, (b"content-length", b"%d" % len(body))]
        watch = Stopwatch(self._name, self._timeouts)
        response: Response | None = None
        try:
            with watch.scope() as scope:
                response = await self._post(headers, body)
            if response is None or scope.cancelled_caught:
                raise watch.expired()
            await self._check(response, watch)
            events = _Events(self._name, request, response, watch)
            yield events
            await events.linger()
        finally:
            if response is not None:
                response.release()

    async def aclose(self) -> None:
        """Close the kept connections."""
        self._http.close()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> PoolStatistics:
        """The connection pool's counters."""
        return self._http.statistics()

    async def _post(self, headers: Headers, body: bytes) -> Response:
        try:
            return await self._http.post(
                self._origin, self._target, headers, body, connect_timeout=self._timeouts.connect
            )
        except ConnectTimedOut as fault:
            raise UpstreamTimedOut(f"{self._name}: {fault}", phase="connect") from fault
        except ConnectFailed as fault:
            raise UpstreamFailed(f"{self._name} cannot be reached: {fault}", retryable=True) from fault
        except HttpFault as fault:
            raise UpstreamFailed(f"{self._name}: {fault}", retryable=True) from fault

    async def _check(self, response: Response, watch: Stopwatch) -> None:
        """Raise `UpstreamFailed` unless the response is a stream of events."""
        head = response.head
        content_type = (head.header(b"content-type") or "").partition(";")[0].strip().lower()
        if head.status == 200 and content_type == "text/event-stream":
            encoding = head.header(b"content-encoding")
            if encoding and encoding.lower() != "identity":
                raise UpstreamFailed(f"{self._name} compressed its stream ({encoding}) although told not to")
            return
        said = self._redacted(describe_error(await self._error_body(response, watch)))
        if head.status == 200:
            kind = content_type or "no content type"
            raise UpstreamFailed(f"{self._name} answered with {kind} instead of an event stream: {said}")
        raise self._refusal(head, said)

    def _refusal(self, head: Head, said: str) -> UpstreamFailed:
        status = head.status
        match status:
            case 401:
                text = (
                    f"{self._name} refused the API key (401)" if self._key else f"{self._name} wants an API key (401)"
                )
            case 429:
                text = f"{self._name} is rate limiting us (429)"
            case 301 | 302 | 303 | 307 | 308:
                text = f"{self._name} redirects ({status}) to {head.header(b'location')}: correct its base URL"
            case _:
                text = f"{self._name} answered {status}"
        return UpstreamFailed(
            f"{text}: {said}" if said else text,
            status=status,
            retryable=status in _RETRYABLE,
            at_fault=status >= 500 or status in _RETRYABLE,
            retry_after=_retry_after(head),
        )

    async def _error_body(self, response: Response, watch: Stopwatch) -> object:
        """What the body says; empty when it does not come in time: the status alone must do then."""
        body = bytearray()
        with watch.scope(), trio.move_on_after(5), suppress(HttpFault):  # a cut error body still says something
            while len(body) < _ERROR_BODY and (piece := await response.read()):
                body += piece
        try:
            decoded: object = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return body.decode("utf-8", "replace")
        return decoded

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


class _Events:
    """The events of one response, read as they are asked for."""

    def __init__(self, name: str, request: ModelRequest, response: Response, watch: Stopwatch) -> None:
        self._name = name
        self._response = response
        self._watch = watch
        self._decoder = SseDecoder()
        self._assembler = Assembler(name, request)
        self._ready: deque[ModelEvent] = deque()
        self._finished = False
        self._spoke = False

    def __aiter__(self) -> "_Events":
        return self

    async def __anext__(self) -> ModelEvent:
        """The next event. A checkpoint only when it has to read: events of one read come without yielding."""
        while not self._ready:
            if self._finished:
                raise StopAsyncIteration
            await self._fill()
        return self._ready.popleft()

    async def linger(self) -> None:
        """After a clean end, read the response's last framing bytes if they are about to come. Bounded."""
        if self._finished and not self._ready and not self._response.ended:
            # Should it fail: the answer is whole, only its connection is lost.
            with trio.move_on_after(_LINGER), suppress(HttpFault):
                await self._response.read()

    async def _fill(self) -> None:
        """Read once and queue what that gave. Raises `UpstreamFailed` or `UpstreamTimedOut`."""
        assembler = self._assembler
        complete = assembler.complete
        scope = self._watch.scope()
        if complete:
            scope.deadline = min(scope.deadline, trio.current_time() + _AFTER_REASON)
        data = b""
        with scope:
            try:
                data = await self._response.read()
            except HttpFault as fault:
                if not complete:
                    raise UpstreamFailed(
                        f"{self._name} cut its answer short: {fault}", retryable=not self._spoke
                    ) from fault
        if scope.cancelled_caught and not complete:
            raise self._watch.expired()
        try:
            payloads = self._decoder.feed(data) if data else self._decoder.flush()
        except EventTooLong as error:
            raise UpstreamFailed(f"{self._name} sent {error}") from error
        ready = self._ready
        for payload in payloads:
            try:
                ready.extend(assembler.feed(payload))
            except UpstreamFailed:
                if data or not complete:
                    raise  # else: half an event behind a whole answer is nothing to fail for
            if assembler.done:
                break
        if ready and not self._spoke:
            self._spoke = True
            self._watch.first_token_came()
        if not data or assembler.done:
            self._finished = True
            ready.extend(assembler.finish())


def _retry_after(head: Head) -> float | None:
    """Seconds to wait as the server asks, between 0 and an hour; a date is read against the server's own clock."""
    value = head.header(b"retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
            seconds = (until - parsedate_to_datetime(head.header(b"date") or "")).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), 3600.0) if math.isfinite(seconds) else None
