"""WebSockets through our application class: no route uses them yet, and the stack's faults are cured already."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from quart import websocket
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from tests.support.server import serving
from understudy.http.app import create_app


@asynccontextmanager
async def open_socket(path: str) -> AsyncIterator[WebSocketConnection]:
    app = create_app()

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    @app.websocket("/raise")
    async def fail() -> None:
        await websocket.accept()
        await websocket.receive()
        raise RuntimeError("on purpose")

    @app.websocket("/leave")
    async def leave() -> None:
        await websocket.accept()

    async with serving(app) as running, open_websocket_url(f"ws://127.0.0.1:{running.port}{path}") as client:
        try:
            yield client
        finally:
            await client._stream.aclose()  # trio-websocket leaves it open when the server closed first


@pytest.mark.parametrize("message", ["text", "", b"\x00\xff", b"", "x" * 100_000])
async def test_a_message_comes_back_as_it_was_sent(message: str | bytes) -> None:
    async with open_socket("/echo") as client:
        await client.send_message(message)
        assert await client.get_message() == message


async def test_an_empty_binary_message_is_not_lost_among_others() -> None:
    async with open_socket("/echo") as client:
        for message in (b"a", b"", "", b"b"):
            await client.send_message(message)
        assert [await client.get_message() for _ in range(4)] == [b"a", b"", "", b"b"]


async def test_a_handler_that_raises_closes_with_1011() -> None:
    async with open_socket("/raise") as client:
        await client.send_message("go")
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1011


async def test_a_handler_that_returns_closes_with_1000() -> None:
    async with open_socket("/leave") as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1000


async def test_a_message_beyond_the_limit_closes_with_1009() -> None:
    async with open_socket("/echo") as client:
        await client.send_message(b"x" * (1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1009
