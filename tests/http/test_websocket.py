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


@pytest.mark.parametrize(("path", "status", "code"), [("/livez", 400, "VALIDATION"), ("/nowhere", 404, "NOT_FOUND")])
async def test_a_websocket_that_no_route_takes_is_refused_in_the_envelope(path: str, status: int, code: str) -> None:
    async with serving(create_app()) as running, await running.connect() as client:
        await client.send(
            f"GET {path} HTTP/1.1\nHost: t\nConnection: upgrade\nUpgrade: websocket\nX-Request-ID: mine\n"
            "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n"
        )
        response = await client.response()
    assert (response.status, response.json["code"]) == (status, code)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == response.json["requestId"] == "mine"
    assert response.headers["x-content-type-options"] == "nosniff"
