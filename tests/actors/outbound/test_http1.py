"""The slim client: what is kept, what is not, and what the peer may do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from understudy.actors.outbound.connection import BadResponse, ConnectionCut, Origin
from understudy.actors.outbound.http1 import Http1Client

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of *answers*, the last one for ever; counts connections."""

    def __init__(self, answers: list[bytes], close: bool) -> None:
        self.answers = answers
        self.close = close
        self.opened = 0
        self.live = 0
        self.origin = Origin("http", "127.0.0.1", 0)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.opened += 1
        self.live += 1
        async with stream:
            try:
                while b"\r\n\r\n" in await stream.receive_some(65536):
                    await stream.send_all(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
                    if self.close:
                        break
            except trio.BrokenResourceError:
                pass
        self.live -= 1


@asynccontextmanager
async def serving(*answers: bytes, close: bool = False) -> AsyncIterator[Server]:
    server = Server(list(answers) or [OK], close)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.origin = Origin("http", "127.0.0.1", listener.socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        with trio.fail_after(30):
            yield server
        nursery.cancel_scope.cancel()


@pytest.fixture
async def client() -> AsyncIterator[Http1Client]:
    client = Http1Client(max_idle=2)
    yield client
    client.close()


async def post(client: Http1Client, server: Server, body: bytes = b"") -> tuple[int, bytes]:
    headers = [(b"host", b"x"), (b"content-length", b"%d" % len(body))]
    response = await client.post(server.origin, b"/", headers, body, connect_timeout=5)
    try:
        found = b""
        while piece := await response.read():
            found += piece
        return response.head.status, found
    finally:
        response.release()


async def test_one_connection_serves_many_requests(client: Http1Client) -> None:
    async with serving() as server:
        for _ in range(5):
            assert await post(client, server) == (200, b"ok")
        assert server.opened == 1


async def test_no_more_connections_are_kept_than_the_limit(client: Http1Client) -> None:
    async with serving() as server:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(post, client, server)
        assert server.opened > 2
        assert client.statistics().idle == 2
        while server.live > 2:
            await trio.sleep(0.001)


async def test_origins_do_not_share_connections(client: Http1Client) -> None:
    async with serving() as one, serving() as other:
        for _ in range(3):
            await post(client, one)
            await post(client, other)
        assert (one.opened, other.opened) == (1, 1)


async def test_a_connection_idle_for_too_long_is_not_used_again(idle_clock: MockClock) -> None:
    async with serving() as server:
        client = Http1Client(idle_seconds=0.02)
        await post(client, server)
        await trio.sleep(0.03)
        await post(client, server)
        assert server.opened == 2
        client.close()


async def test_closing_the_client_closes_what_is_idle_and_keeps_nothing_more(client: Http1Client) -> None:
    async with serving() as server:
        await post(client, server)
        client.close()
        client.close()
        while server.live:
            await trio.sleep(0.001)
        assert await post(client, server) == (200, b"ok")
        assert client.statistics().idle == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nconnection: keep-alive, Close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsmuggled!",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nleft over",
    ],
)
async def test_a_connection_that_must_not_be_kept_is_closed(client: Http1Client, answer: bytes) -> None:
    async with serving(answer) as server:
        assert await post(client, server) == (200, b"ok")
        assert client.statistics().idle == 0
        assert await post(client, server) == (200, b"ok")
        assert server.opened == 2


async def test_a_response_released_half_read_is_closed_and_releasing_twice_is_harmless(client: Http1Client) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf") as server:
        response = await client.post(
            server.origin, b"/", [(b"host", b"x"), (b"content-length", b"0")], b"", connect_timeout=5
        )
        assert await response.read() == b"half"
        response.release()
        response.release()
        assert client.statistics().idle == 0
        while server.live:
            await trio.sleep(0.001)


async def test_interim_responses_are_skipped(client: Http1Client) -> None:
    async with serving(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK) as server:
        assert await post(client, server) == (200, b"ok")


async def test_a_response_without_a_body_is_whole(client: Http1Client) -> None:
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        assert await post(client, server) == (204, b"")
        assert await post(client, server) == (204, b"")
        assert server.opened == 1


async def test_an_answer_to_a_request_that_was_not_read_to_its_end_is_still_found(client: Http1Client) -> None:
    """A server may say 413 after the head of a large request and close."""
    refusal = b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig"

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(refusal)
        await stream.send_eof()
        while await stream.receive_some(65536):
            pass
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        server = Server([], close=True)
        server.origin = Origin("http", "127.0.0.1", listener.socket.getsockname()[1])
        with trio.fail_after(30):
            assert await post(client, server, b"x" * 5_000_000) == (413, b"big")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", ConnectionCut),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", ConnectionCut),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", ConnectionCut),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nab\r\n", BadResponse),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef", BadResponse),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n", BadResponse),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc", BadResponse),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", BadResponse),
        (b"x" * 100_000, BadResponse),
        (b"HTTP/1.1 200 OK\r\n", ConnectionCut),
        (b"", ConnectionCut),
    ],
)
async def test_a_cut_or_broken_response_is_an_error_never_an_end(
    client: Http1Client, answer: bytes, error: type[Exception]
) -> None:
    async with serving(answer, close=True) as server:
        with pytest.raises(error):
            await post(client, server)
        assert client.statistics().idle == 0


async def test_a_body_without_a_length_lasts_until_the_close(client: Http1Client) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", close=True) as server:
        assert await post(client, server) == (200, b"until the end")
        assert client.statistics().idle == 0


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://a.example/x", "a.example"),
        ("https://a.example:443", "a.example"),
        ("https://a.example:80", "a.example:80"),
        ("http://[::1]:8000/", "[::1]:8000"),
    ],
)
def test_the_host_header_names_the_port_only_when_it_is_not_the_usual_one(url: str, authority: str) -> None:
    assert Origin.of(url).authority == authority


async def test_what_has_come_already_is_read_without_waiting_and_never_taken_for_the_end(client: Http1Client) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    for rest, ends in ((b"0\r\n\r\n", True), (b"", False)):
        async with serving(head + b"3\r\none\r\n3\r\ntwo\r\n" + rest, close=True) as server:
            wanted = [(b"host", b"x"), (b"content-length", b"0")]
            response = await client.post(server.origin, b"/", wanted, b"", connect_timeout=5)
            try:
                said = b""
                while len(said) < 6:
                    piece = response.read_ready()
                    said += await response.read() if piece is None else piece
                assert said == b"onetwo"
                assert response.read_ready() is None
                if ends:
                    assert await response.read() == b""
                    assert response.read_ready() is None
                else:
                    with pytest.raises(ConnectionCut):
                        await response.read()
            finally:
                response.release()
