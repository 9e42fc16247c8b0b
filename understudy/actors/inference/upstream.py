"""What all providers' clients have in common: one POST, a stream of server-sent events, deadlines, and plain errors.

A dialect subclasses `StreamingClient` and says only how a request is written and how its events are read.
"""

import re
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import ClassVar, Protocol, TypeAlias
from urllib.parse import urlsplit

import attrs
import msgspec
import trio

from understudy.actors.inference.errors import UpstreamFailed, UpstreamTimedOut
from understudy.actors.inference.messages import ModelEvent, ModelRequest, TextDelta
from understudy.actors.inference.refusals import describe_error, refusal
from understudy.actors.inference.sse import EventTooLong, SseDecoder
from understudy.actors.inference.timeouts import Stopwatch, Timeouts
from understudy.actors.outbound.connection import ConnectFailed, ConnectTimedOut, Headers, HttpFault, Origin
from understudy.actors.outbound.guarded import OutboundFailed, OutboundRefused
from understudy.actors.outbound.http1 import Http1Client, PoolStatistics, Response

_ERROR_BODY = 16 * 1024
_BREATH = 8 * 1024  # bytes that are read without waiting before the other tasks have their turn
_AFTER_REASON = 2.0  # seconds granted to usage and [DONE] after the finish reason: some servers send neither
_NOT_KNOWN = re.compile(
    r"unsupported|not (?:yet )?support|unrecogni[sz]ed|unknown|unexpected"
    r"|not permitted|not allowed|forbidden|deprecated",
    re.IGNORECASE,
)
_MODELS_REMEMBERED = 256


Instead: TypeAlias = str | Mapping[str, object] | None
"""In place of a refused field: the same under this name, this value under the same name, or nothing."""


class Assembler(Protocol):
    """Reads one streamed answer of one dialect. Pure: no sockets, no time."""

    @property
    def complete(self) -> bool:
        """Whether the provider said in any way that its answer is whole."""
        ...

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        ...

    @property
    def thinking(self) -> bool:
        """Whether the model was seen at work, though not yet by a word of its answer."""
        ...

    def feed(self, data: bytes) -> Sequence[ModelEvent]:
        """The events of one SSE event. An `UpstreamFailed` is marked retryable as if nothing had been said yet."""
        ...

    def finish(self) -> Sequence[ModelEvent]:
        """The closing events. Raises `UpstreamFailed` when the answer is not whole."""
        ...


@attrs.frozen
class Call:
    """A request in the provider's own words, and who will read the answer."""

    target: bytes
    body: MutableMapping[str, object]
    assembler: Assembler


class StreamingClient(ABC):
    """Speaks to one base URL with one key; *name* is what errors call the provider. See `ModelClient`."""

    NEGOTIABLE: ClassVar[Mapping[str, Instead]] = {}
    """Fields of the body that some models refuse, and what to send instead.

    Which model takes what cannot be known beforehand. A refusal that names such a field is answered by asking again at
    once without it, and remembered for that model.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        name: str,
        auth: Headers,
        timeouts: Timeouts | None = None,
        http: Http1Client | None = None,
    ) -> None:
        self._name = name
        self._timeouts = timeouts or Timeouts()
        self._http = http or Http1Client()
        self._origin = Origin.of(base_url)
        self._path = urlsplit(base_url).path.rstrip("/")
        self._key = api_key
        self._refused: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._headers = [
            (b"host", self._origin.authority.encode()),
            (b"content-type", b"application/json"),
            (b"accept", b"text/event-stream"),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"understudy"),
            *auth,
        ]

    @abstractmethod
    def _call(self, request: ModelRequest) -> Call:
        """*request* in this dialect."""

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """See `ModelClient.stream`."""
        call = self._call(request)
        watch = Stopwatch(self._name, self._timeouts)
        response: Response | None = None
        try:
            while True:
                response = await self._begin(call, request.model, watch)
                said = await self._objection(response, watch)
                if said is None:
                    break
                response.release()
                if not self._learn(request.model, call.body, response.head.status, said):
                    raise refusal(self._name, response.head, self._redacted(said), keyed=self._key is not None)
            events = _Events(self._name, call.assembler, response, watch)
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

    async def _begin(self, call: Call, model: str, watch: Stopwatch) -> Response:
        """Send the request, without what this model is known to refuse; return once the head has come."""
        for field in self._refused.get(model, ()):
            if field in call.body:
                value = call.body.pop(field)
                match self.NEGOTIABLE[field]:
                    case None:
                        pass
                    case str(other_name):
                        call.body[other_name] = value
                    case other_value:
                        call.body[field] = other_value
        body = msgspec.json.encode(call.body)
        headers = [*self._headers, (b"content-length", b"%d" % len(body))]
        response: Response | None = None
        with watch.scope():
            response = await self._post(call.target, headers, body)
        if response is None:
            raise watch.expired()
        return response

    async def _post(self, target: bytes, headers: Headers, body: bytes) -> Response:
        try:
            return await self._http.post(self._origin, target, headers, body, connect_timeout=self._timeouts.connect)
        except ConnectTimedOut as fault:
            raise UpstreamTimedOut(f"{self._name}: {fault}", phase="connect") from fault
        except ConnectFailed as fault:
            raise UpstreamFailed(f"{self._name} cannot be reached: {fault}", retryable=True) from fault
        except HttpFault as fault:
            raise UpstreamFailed(f"{self._name}: {fault}", retryable=True) from fault
        except OutboundRefused as refused:
            raise UpstreamFailed(f"{self._name} may not be asked: {refused}", status=403, at_fault=False) from refused
        except OutboundFailed as failed:
            raise UpstreamFailed(f"{self._name} cannot be reached: {failed}") from failed

    async def _objection(self, response: Response, watch: Stopwatch) -> str | None:
        """The body of an error response as text; None when the response is a stream of events.

        Raises `UpstreamFailed` for a success that is none.
        """
        head = response.head
        content_type = (head.header(b"content-type") or "").partition(";")[0].strip().lower()
        if head.status == 200 and content_type == "text/event-stream":
            encoding = head.header(b"content-encoding")
            if encoding and encoding.lower() != "identity":
                raise UpstreamFailed(f"{self._name} compressed its stream ({encoding}) although told not to")
            return None
        said = await self._error_body(response, watch)
        if head.status == 200:
            kind = content_type or "no content type"
            shown = self._redacted(describe_error(said))
            raise UpstreamFailed(f"{self._name} answered with {kind} instead of an event stream: {shown}")
        return said

    async def _error_body(self, response: Response, watch: Stopwatch) -> str:
        """What the body says; empty when it does not come in time: the status alone must do then."""
        body = bytearray()
        with watch.scope(), trio.move_on_after(5), suppress(HttpFault):  # a cut error body still says something
            while len(body) < _ERROR_BODY and (piece := await response.read()):
                body += piece
        return body.decode("utf-8", "replace")

    def _learn(self, model: str, body: Mapping[str, object], status: int, said: str) -> bool:
        """Whether the refusal names a field that can be left out or renamed; it then is, now and from now on."""
        if status not in {400, 422} or not _NOT_KNOWN.search(said):
            return False
        known = self._refused.get(model, ())
        named = [field for field in self.NEGOTIABLE if field in body and field not in known]
        refused = next((field for field in named if re.search(rf"\b{field}\b", said)), None)
        if refused is None:
            return False
        self._refused[model] = (*known, refused)
        self._refused.move_to_end(model)
        while len(self._refused) > _MODELS_REMEMBERED:
            self._refused.popitem(last=False)
        return True

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


class _Events:
    """The events of one response, read as they are asked for."""

    def __init__(self, name: str, assembler: Assembler, response: Response, watch: Stopwatch) -> None:
        self._name = name
        self._response = response
        self._watch = watch
        self._decoder = SseDecoder()
        self._assembler = assembler
        self._ready: deque[ModelEvent] = deque()
        self._finished = False
        self._spoke = False
        self._breath = _BREATH

    def __aiter__(self) -> "_Events":
        return self

    async def __anext__(self) -> ModelEvent:
        """The next event. A checkpoint only when it has to read: events of one read come without yielding."""
        while not self._ready:
            if self._finished:
                raise StopAsyncIteration
            try:
                await self._fill()
            except UpstreamFailed as error:
                error.retryable = error.retryable and not self._spoke
                raise
        return self._ready.popleft()

    def _say(self, said: list[str]) -> None:
        """Queue pieces of text as one, and empty the list."""
        if said:
            self._ready.append(TextDelta("".join(said)))
            said.clear()

    async def linger(self) -> None:
        """After a clean end, read the response's last framing bytes if they are about to come. Bounded."""
        if self._finished and not self._ready and not self._response.ended:
            # Should it fail: the answer is whole, only its connection is lost.
            with self._watch.lingering(), suppress(HttpFault):
                await self._response.read()

    def _read_ready(self) -> bytes | None:
        """What has come already, unless so much was read without waiting that it is the others' turn."""
        if self._breath <= 0:
            return None
        data = self._response.read_ready()
        if data:
            self._breath -= len(data)
        return data

    async def _read(self, *, complete: bool) -> bytes:
        """Wait for what comes next, within its deadline; empty at the end, and when a *complete* answer stays open."""
        self._breath = _BREATH
        scope = self._watch.scope()
        if complete:
            scope.deadline = min(scope.deadline, trio.current_time() + _AFTER_REASON)
        with scope:
            return await self._response.read()
        if not complete:
            raise self._watch.expired()
        return b""

    async def _fill(self) -> None:
        """Read once and queue what that gave. Raises `UpstreamFailed` or `UpstreamTimedOut`."""
        assembler = self._assembler
        complete = assembler.complete
        data = b""
        try:
            data = self._read_ready() or await self._read(complete=complete)
        except HttpFault as fault:
            if not complete:
                raise UpstreamFailed(f"{self._name} cut its answer short: {fault}", retryable=True) from fault
        try:
            payloads = self._decoder.feed(data) if data else self._decoder.flush()
        except EventTooLong as error:
            raise UpstreamFailed(f"{self._name} sent {error}") from error
        ready = self._ready
        # A fast provider sends many tokens in one read; nobody downstream is the wiser for getting them one by one.
        said: list[str] = []
        try:
            for payload in payloads:
                try:
                    for event in assembler.feed(payload):
                        if type(event) is TextDelta:
                            said.append(event.text)
                        else:
                            self._say(said)
                            ready.append(event)
                except UpstreamFailed:
                    if data or not complete:
                        raise  # else: half an event behind a whole answer is nothing to fail for
                if assembler.done:
                    break
        finally:
            self._say(said)
        if not data or assembler.done:
            self._finished = True
            ready.extend(assembler.finish())
        if not self._spoke and (ready or assembler.thinking):
            self._spoke = bool(ready)
            self._watch.first_token_came()
