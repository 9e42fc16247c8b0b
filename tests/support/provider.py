"""A stand-in OpenAI-compatible provider on bare trio, for tests and benchmarks.

In a test::

    async with stand_in() as provider:
        provider.enqueue(Behaviour(tokens=5, cut_after=2))
        ...  # point a client at provider.base_url
        assert provider.connections[0].closed_by_peer

A behaviour comes from the queue; else from the last user message when it starts with ``!`` (``!tokens=200 gap_ms=5
cut_after=9``, so a test above HTTP can script it too); else it is the default.

As a process: ``python -m tests.support.provider --port 9101 --tokens 64 --gap-ms 0``.
"""

import argparse
import math
import select
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
ANSWER = "The quick brown fox jumps over the lazy dog again."


@attrs.frozen
class Behaviour:
    """How one request is answered. Counts are in tokens (one event each), times in milliseconds.

    ``gap_ms`` lies between tokens, ``first_ms`` before the first one; inf waits until the client leaves.
    ``cut_after`` / ``stall_after`` / ``garbage_after`` / ``truncate_after``: after that many tokens close the
    connection, fall silent, send what is no JSON, or send half an event and end the body properly.
    ``drop`` closes without a word; ``stall_head`` accepts and never answers.
    """

    tokens: int = 8
    gap_ms: float = 0.0
    first_ms: float = 0.0
    text: str | None = None
    tool_calls: tuple[tuple[str, str], ...] = ()
    status: int = 200
    retry_after: str | None = None
    body: str | None = None
    content_type: str | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    garbage_after: int | None = None
    truncate_after: int | None = None
    error_after: int | None = None
    drop: bool = False
    stall_head: bool = False
    reason: str | None = "stop"
    usage: bool = True
    done: bool = True
    crlf: bool = False
    raw: bytes | None = None
    close: bool = False

    @classmethod
    def parse(cls, words: str) -> "Behaviour":
        """Read ``key=value`` words; values are JSON, or bare text."""
        values: dict[str, Any] = {}
        for word in words.split():
            key, _, value = word.partition("=")
            try:
                values[key] = msgspec.json.decode(value) if value else True
            except msgspec.DecodeError:
                values[key] = math.inf if value == "inf" else value
        if "tool" in values:
            values["tool_calls"] = ((values.pop("tool"), msgspec.json.encode(values.pop("arguments", {})).decode()),)
        return cls(**values)


@attrs.define
class SeenRequest:
    """A request as it came."""

    body: Any
    headers: dict[str, str]
    connection: int
    target: str = ""


@attrs.define
class SeenConnection:
    """What went over one connection: when each write began and how many bytes had been sent with it."""

    id: int
    opened_at: float
    closed_at: float | None = None
    closed_by_peer: bool = False
    sent: list[tuple[float, int]] = attrs.field(factory=list)
    requests: int = 0
    closed: trio.Event = attrs.field(factory=trio.Event)

    @property
    def total(self) -> int:
        """Bytes written so far."""
        return self.sent[-1][1] if self.sent else 0

    def sent_after(self, moment: float) -> int:
        """Bytes written after *moment* (trio's clock)."""
        before = max((total for at, total in self.sent if at <= moment), default=0)
        return self.total - before


class _Left(Exception):
    """The client closed its end."""


class StandIn:
    """The provider. Its lists grow for ever: one per test."""

    def __init__(self, port: int, default: Behaviour, *, recording: bool = True) -> None:
        self.port = port
        self.default = default
        self.requests: list[SeenRequest] = []
        self.connections: list[SeenConnection] = []
        self.recording = recording
        self._queue: deque[Behaviour] = deque()
        self._ready: dict[Behaviour, list[bytes]] = {}

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return f"http://127.0.0.1:{self.port}/v1"

    def enqueue(self, *behaviours: Behaviour) -> None:
        """Answer the next requests so, in order of arrival."""
        self._queue.extend(behaviours)

    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return sum(connection.closed_at is None for connection in self.connections)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer requests on one connection until somebody closes it."""
        wire = _Wire(stream, SeenConnection(len(self.connections), trio.current_time()), self.recording)
        if self.recording:
            self.connections.append(wire.seen)
        try:
            while (request := await wire.read_request()) is not None:
                target, headers, body = request
                wire.seen.requests += 1
                if self.recording:
                    decoded = msgspec.json.decode(body) if body else None
                    self.requests.append(SeenRequest(decoded, headers, wire.seen.id, target))
                if not await self._answer(wire, target, body):
                    break
        except (_Left, trio.BrokenResourceError):
            wire.seen.closed_by_peer = True
        finally:
            stream.socket.close()
            wire.seen.closed_at = trio.current_time()
            wire.seen.closed.set()

    def _behaviour(self, body: bytes) -> Behaviour:
        if self._queue:
            return self._queue.popleft()
        at = body.rfind(b'"!')
        if at >= 0:
            content = msgspec.json.decode(body)["messages"][-1]["content"]
            if isinstance(content, str) and content.startswith("!"):
                return Behaviour.parse(content[1:])
        return self.default

    async def _answer(self, wire: "_Wire", target: str, body: bytes) -> bool:
        """Answer one request; whether the connection may serve another."""
        if target.endswith("/models"):
            model = {"id": "fake", "object": "model", "created": 1, "owned_by": "stand-in"}
            await wire.send(_plain(200, msgspec.json.encode({"object": "list", "data": [model]})))
            return True
        how = self._behaviour(body)
        if how.drop:
            return False
        if how.stall_head:
            await wire.wait(math.inf)
        if how.raw is not None:
            await wire.send(how.raw)
            return not how.close
        if how.status != 200 or how.content_type:
            said = how.body if how.body is not None else '{"error":{"message":"scripted failure","type":"scripted"}}'
            await wire.send(_plain(how.status, said.encode(), how.content_type, how.retry_after))
            return not how.close
        if b'"stream":true' not in body.replace(b" ", b""):
            await wire.send(_plain(200, _COMPLETION))
            return True
        return await self._stream(wire, how)

    async def _stream(self, wire: "_Wire", how: Behaviour) -> bool:
        pieces = self._ready.get(how)
        if pieces is None:
            pieces = self._ready[how] = _pieces(how)
        if not how.gap_ms and not how.first_ms and how.stall_after is None:
            await wire.send(HEAD + b"".join(pieces))
        else:
            await wire.send(HEAD)
            for number, piece in enumerate(pieces):
                if number == how.stall_after:
                    await wire.wait(math.inf)
                wait = how.gap_ms if number else how.first_ms
                if wait:
                    await wire.wait(wait / 1000)
                await wire.send(piece)
        return not how.close and how.cut_after is None


class _Wire:
    """One connection's bytes, watched."""

    def __init__(self, stream: trio.SocketStream, seen: SeenConnection, recording: bool) -> None:
        self.seen = seen
        self._stream = stream
        self._recording = recording
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(stream.socket.fileno(), select.POLLIN)

    async def read_request(self) -> tuple[str, dict[str, str], bytes] | None:
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = await self._stream.receive_some(65536)
            if not more:
                self.seen.closed_by_peer = True
                return None
            data += more
        lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = end + 4 + int(headers.get("content-length", 0))
        while len(data) < length:
            more = await self._stream.receive_some(65536)
            if not more:
                raise _Left
            data += more
        self._rest = data[length:]
        return lines[0].split(" ")[1], headers, data[end + 4 : length]

    async def send(self, data: bytes) -> None:
        """Write, unless the client has left: then not one more byte."""
        if self._recording:
            if self._poll.poll(0):
                raise _Left
            # Noted before the bytes go: afterwards would be a tick too late, and look as if they went after a cancel.
            self.seen.sent.append((trio.current_time(), self.seen.total + len(data)))
        await self._stream.send_all(data)

    async def wait(self, seconds: float) -> None:
        """Wait, and notice at once when the client leaves."""
        with trio.move_on_after(seconds):
            if not await self._stream.receive_some(1):
                raise _Left


def _plain(status: int, body: bytes, content_type: str | None = None, retry_after: str | None = None) -> bytes:
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type or 'application/json'}\r\n"
    if retry_after is not None:
        head += f"retry-after: {retry_after}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


_COMPLETION = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "fake",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
)


def event(delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> bytes:
    """One chunk of a chat completion as a server-sent event."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000, "model": "fake"}
    return b"data: " + msgspec.json.encode({**chunk, "choices": choices, **more}) + b"\n\n"


def framed(data: bytes) -> bytes:
    """As one HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _tool_events(calls: Sequence[tuple[str, str]]) -> list[bytes]:
    events = []
    for index, (name, arguments) in enumerate(calls):
        start = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        events.append(event({"tool_calls": [start]}))
        half = len(arguments) // 2
        events.extend(
            event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            for piece in (arguments[:half], arguments[half:])
        )
    return events


def _pieces(how: Behaviour) -> list[bytes]:
    """The body's HTTP chunks; the first ``tokens`` are tokens, the opening role rides with the first."""
    words = [f"tok{number} " for number in range(how.tokens)]
    if how.text is not None:
        words = [word + " " for word in how.text.split(" ")]
        words[-1] = words[-1][:-1]
    if how.tool_calls:
        words = []
    events = [event({"content": word}) for word in words] + _tool_events(how.tool_calls)
    opening = event({"role": "assistant", "content": ""})
    for limit, last in (
        (how.cut_after, None),
        (how.garbage_after, b"data: <html>Bad Gateway</html>\n\n"),
        (how.truncate_after, b'data: {"id":"chatcmpl-1","choices":[{"ind'),
        (how.error_after, b'data: {"error":{"message":"the model fell over","code":500}}\n\n'),
    ):
        if limit is not None:
            cut = [framed(one) for one in (opening, *events[:limit])]
            return cut if last is None else [*cut, framed(last), b"0\r\n\r\n"]
    if how.reason:
        events.append(event({}, "tool_calls" if how.tool_calls and how.reason == "stop" else how.reason))
    if how.usage:
        events.append(event(None, usage=USAGE))
    if how.done:
        events.append(b"data: [DONE]\n\n")
    if events:
        events[0] = opening + events[0]
    if how.crlf:
        events = [one.replace(b"\n", b"\r\n") for one in events]
    chunks = [framed(one) for one in events]
    chunks.append(b"0\r\n\r\n")
    if not how.gap_ms:
        chunks[-2:] = [chunks[-2] + chunks[-1]]
    return chunks


@asynccontextmanager
async def stand_in(
    default: Behaviour | None = None, *, port: int = 0, recording: bool = True
) -> AsyncIterator[StandIn]:
    """A provider on a loopback port, until the block is left; then all its connections are closed."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        provider = StandIn(listener.socket.getsockname()[1], default or Behaviour(), recording=recording)
        nursery.start_soon(trio.serve_listeners, provider.serve, [listener])
        yield provider
        nursery.cancel_scope.cancel()


async def _main(port: int, default: Behaviour) -> None:
    async with stand_in(default, port=port, recording=False) as provider:
        sys.stdout.write(f"stand-in provider on {provider.base_url}\n")
        sys.stdout.flush()
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=9101)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--gap-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    try:
        trio.run(_main, arguments.port, Behaviour(tokens=arguments.tokens, gap_ms=arguments.gap_ms))
    except KeyboardInterrupt:
        sys.exit(0)
