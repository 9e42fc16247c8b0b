"""A stand-in provider on bare trio, for tests and benchmarks: OpenAI's form, Anthropic's and Gemini's, by the path.

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
import json
import math
import select
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio

from tests.support.completions import COMPLETION, HEAD, Behaviour, event, framed, plain
from tests.support.dialects import CHAT, Dialect, dialect_of, pieces_of

__all__ = ["HEAD", "Behaviour", "SeenConnection", "SeenRequest", "StandIn", "event", "framed", "stand_in"]


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
        self._ready: dict[tuple[Behaviour, Dialect], list[bytes]] = {}

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """What a node is started with whose agents think here."""
        return {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": self.base_url, "UNDERSTUDY_MODEL": "openai/fake"}

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
            content, _ = json.JSONDecoder().raw_decode(body[at:].decode())
            return Behaviour.parse(content[1:])
        return self.default

    async def _answer(self, wire: "_Wire", target: str, body: bytes) -> bool:
        """Answer one request; whether the connection may serve another."""
        if target.endswith("/models"):
            model = {"id": "fake", "object": "model", "created": 1, "owned_by": "stand-in"}
            await wire.send(plain(200, msgspec.json.encode({"object": "list", "data": [model]})))
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
            await wire.send(plain(how.status, said.encode(), how.content_type, how.retry_after))
            return not how.close
        dialect = dialect_of(target)
        if dialect is CHAT and b'"stream":true' not in body.replace(b" ", b""):
            await wire.send(plain(200, COMPLETION))
            return True
        if how.stall_opened:
            await wire.send(HEAD + framed(dialect.opening) + framed(b": still here\n\n"))
            await wire.wait(math.inf)
        return await self._stream(wire, how, dialect)

    async def _stream(self, wire: "_Wire", how: Behaviour, dialect: Dialect) -> bool:
        pieces = self._ready.get((how, dialect))
        if pieces is None:
            pieces = self._ready[how, dialect] = pieces_of(how, dialect)
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
