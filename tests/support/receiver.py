"""A receiver of webhooks on a real socket: it keeps what it gets as it came, and answers as it is told."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import h11
import trio

from tests.support.client import next_http_event


@attrs.frozen
class Received:
    """A request as it came; ``headers`` by their names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@attrs.define
class Receiver:
    """Answers each request, once ``gate`` is set, with the next status of ``script``; with 200 when it is used up."""

    script: list[int] = attrs.field(factory=list)
    url: str = ""
    got: list[Received] = attrs.field(factory=list)
    gate: trio.Event = attrs.field(factory=trio.Event)
    _came: trio.Event = attrs.field(factory=trio.Event)

    async def wait(self, many: int, seconds: float = 10.0) -> list[Received]:
        """Wait until that many requests have come; all of them."""
        with trio.fail_after(seconds):
            while len(self.got) < many:
                self._came = trio.Event()
                await self._came.wait()
        return self.got

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, one request."""
        http = h11.Connection(h11.SERVER)
        body = b""
        try:
            async with stream:
                head = await next_http_event(stream, http)
                if not isinstance(head, h11.Request):
                    return  # who sent it was killed before it was sent
                while isinstance(event := await next_http_event(stream, http), h11.Data):
                    body += event.data
                await self.gate.wait()
                headers = {name.decode().lower(): value.decode() for name, value in head.headers}
                self.got.append(Received(head.target.decode(), headers, body))
                status = self.script.pop(0) if self.script else 200
                extra = f"location: {self.url}/elsewhere\r\n" if 300 <= status < 400 else ""
                await stream.send_all(f"HTTP/1.1 {status} X\r\n{extra}content-length: 0\r\n\r\n".encode())
                self._came.set()
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return  # ... in the middle of it


@asynccontextmanager
async def receiving(*script: int, shut: bool = False, port: int = 0) -> AsyncGenerator[Receiver]:
    """A `Receiver` on a *port* of the loopback, any free one unless said.

    A *shut* one answers nothing until its gate is set.
    """
    receiver = Receiver(list(script))
    if not shut:
        receiver.gate.set()
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, receiver.serve, port, host="127.0.0.1"))
        receiver.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield receiver
        nursery.cancel_scope.cancel()
