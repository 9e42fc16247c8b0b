"""What tests of tools share: who asks, and a page to read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from understudy.actors.tools.messages import ToolContext

CONTEXT = ToolContext("ws", "usr", "chad", "ses", "trn", timezone="America/New_York")


@asynccontextmanager
async def page(content_type: str, body: bytes, status: int = 200) -> AsyncIterator[str]:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(head.encode() + body)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()
