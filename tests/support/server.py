"""An application on a real socket, and a client that sends and reads bytes, not requests."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import attrs
import msgspec
import trio

from understudy.http.limits import WireLimits
from understudy.http.server import Server


@attrs.define
class Running:
    """A server that serves, and where."""

    server: Server
    port: int

    @property
    def url(self) -> str:
        """The base of its addresses."""
        return f"http://127.0.0.1:{self.port}"

    async def connect(self) -> "RawClient":
        """A new connection to it."""
        return RawClient(await trio.open_tcp_stream("127.0.0.1", self.port))


@asynccontextmanager
async def serving(app: Any, limits: WireLimits | None = None) -> AsyncIterator[Running]:
    """Serve *app* on a free port of the loopback interface; leaving closes every connection. The body has 60 s."""
    with trio.fail_after(60), socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        server = Server(app, [listener], limits)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            yield Running(server, listener.getsockname()[1])
            nursery.cancel_scope.cancel()


@attrs.frozen
class Response:
    """A response as it came: header names in lower case, the body with its chunks joined."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class RawClient:
    """One TCP connection, and no opinion about what belongs on it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    async def send(self, data: bytes | str) -> None:
        """Send bytes; text is encoded, and each of its newlines becomes CRLF."""
        await self.stream.send_all(data if isinstance(data, bytes) else data.replace("\n", "\r\n").encode())

    async def receive(self) -> bytes:
        """The next bytes, however many; empty when the server has closed its side."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        return await self.stream.receive_some(65536)

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with *mark*."""
        while mark not in self.buffer:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError(f"closed before {mark!r}; got {self.buffer!r}")
            self.buffer += data
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    async def exactly(self, count: int) -> bytes:
        """Exactly *count* bytes."""
        while len(self.buffer) < count:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError(f"closed {count - len(self.buffer)} bytes early")
            self.buffer += data
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    async def head(self) -> Response:
        """The next response's status and headers, leaving its body."""
        lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return Response(int(lines[0].split(" ")[1]), {k.lower(): v.strip() for k, _, v in pairs}, b"")

    async def response(self) -> Response:
        """The next whole response, by its length or its chunks."""
        head = await self.head()
        if head.status in {204, 304}:
            return head
        if "content-length" in head.headers:
            return attrs.evolve(head, body=await self.exactly(int(head.headers["content-length"])))
        return attrs.evolve(head, body=b"".join([chunk async for chunk in self.chunks()]))

    def chunks(self) -> "Chunks":
        """The chunks of a body in chunked coding, as they come."""
        return Chunks(self)

    async def closed(self) -> bool:
        """Wait until the server closes its side; whether it did so without sending more, and without a reset."""
        try:
            return not self.buffer and await self.stream.receive_some(65536) == b""
        except trio.BrokenResourceError:
            return False


class Chunks:
    """An iterator and no generator, so that a test may stop in the middle."""

    def __init__(self, client: RawClient) -> None:
        self._client = client

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next chunk, whole."""
        size = int((await self._client.until(b"\r\n")).strip(), 16)
        data = await self._client.exactly(size)
        await self._client.exactly(2)
        if not size:
            raise StopAsyncIteration
        return data
