"""A stand-in server on a real socket: it answers each request as the test's script says, down to the cut connection."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import h11
import trio


@attrs.frozen
class Asked:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@attrs.define
class Exchange:
    """The answering side of one request."""

    asked: Asked
    _stream: trio.SocketStream

    async def json(self, status: int, body: Any, **headers: str) -> None:
        payload = json.dumps(body).encode()
        fields = {
            "Content-Type": "application/json",
            "Content-Length": str(len(payload)),
            "Connection": "close",
        } | headers
        await self._head(status, fields)
        await self._stream.send_all(payload)

    async def open_events(self) -> None:
        await self._head(200, {"Content-Type": "text/event-stream", "Connection": "close"})

    async def raw(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def event(self, kind: str, seq: int, **data: Any) -> None:
        frame = f"event: {kind}\nid: ses_1:{seq}\ndata: {json.dumps(data)}\n\n"
        await self._stream.send_all(frame.encode())

    async def _head(self, status: int, fields: dict[str, str]) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self._stream.send_all(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())


Script = Callable[[Exchange], Awaitable[None]]


@attrs.define
class ScriptedServer:
    """Every request is recorded in ``asked`` and given to *script*; its return closes the connection."""

    script: Script
    url: str = ""
    asked: list[Asked] = attrs.Factory(list)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def stop(self) -> None:
        """Close the listener and every connection."""
        self._scope.cancel()

    async def listen(self, *, task_status: trio.TaskStatus[trio.SocketListener]) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                [listener] = await nursery.start(partial(trio.serve_tcp, self._answer, 0, host="127.0.0.1"))
                task_status.started(listener)

    async def _answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            head: h11.Request | None = None
            body = b""
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    data = await stream.receive_some()
                    if not data:
                        return
                    connection.receive_data(data)
                elif isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    break
            assert head is not None
            headers = {name.decode().lower(): value.decode() for name, value in head.headers}
            asked = Asked(head.method.decode(), head.target.decode(), headers, json.loads(body) if body else None)
            self.asked.append(asked)
            await self.script(Exchange(asked, stream))


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[ScriptedServer]:
    """A `ScriptedServer` on a free port of the loopback."""
    server = ScriptedServer(script)
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(server.listen)
        server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()
