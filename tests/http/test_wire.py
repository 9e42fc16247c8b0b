"""What the server does with connections, seen from a raw socket. Each fault of the stack has its test here."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Body, Response
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.support.server import RawClient, serving
from understudy.http.limits import WireLimits
from understudy.http.protocol import Http1, Tasks

GET = "GET / HTTP/1.1\nHost: test\n\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    body = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await trio.lowlevel.checkpoint()


async def test_a_connection_serves_one_request_after_another() -> None:
    async with serving(hello) as running, await running.connect() as client:
        for path in ("/one", "/two", "/three"):
            await client.send(f"GET {path} HTTP/1.1\nHost: test\n\n")
            assert (await client.response()).body == path.encode()


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(hello) as running, await running.connect() as client:
        await client.send("".join(f"GET /{n} HTTP/1.1\nHost: test\n\n" for n in range(20)))
        assert [(await client.response()).body for _ in range(20)] == [f"/{n}".encode() for n in range(20)]


async def test_connection_close_closes_the_connection() -> None:
    async with serving(hello) as running, await running.connect() as client:
        await client.send("GET / HTTP/1.1\nHost: test\nConnection: close\n\n")
        assert (await client.response()).status == 200
        assert await client.closed()


async def test_a_request_pipelined_behind_connection_close_is_not_served_and_nothing_is_left_behind() -> None:
    async with serving(hello) as running:
        async with await running.connect() as client:
            await client.send("GET /a HTTP/1.1\nHost: test\nConnection: close\n\nGET /b HTTP/1.1\nHost: test\n\n")
            assert (await client.response()).body == b"/a"
            assert await client.closed()
        while running.server.statistics().open:
            await trio.lowlevel.checkpoint()


async def test_http_1_0_closes_after_its_response() -> None:
    async with serving(hello) as running, await running.connect() as client:
        await client.send("GET / HTTP/1.0\n\n")
        assert (await client.response()).status == 200
        assert await client.closed()


async def test_an_idle_connection_is_closed_after_the_keep_alive_timeout(idle_clock: MockClock) -> None:
    async with serving(hello, WireLimits(keep_alive_timeout=0.1)) as running, await running.connect() as client:
        await client.send(GET)
        assert (await client.response()).status == 200
        assert await client.closed()


async def test_a_connection_that_never_sends_is_closed_after_the_header_timeout(idle_clock: MockClock) -> None:
    async with serving(hello, WireLimits(header_timeout=0.1)) as running, await running.connect() as client:
        assert await client.closed()


async def test_headers_that_trickle_in_are_answered_408_however_often_a_byte_comes(idle_clock: MockClock) -> None:
    async with serving(hello, WireLimits(header_timeout=0.3)) as running, await running.connect() as client:
        await client.send("GET / HTTP/1.1\n")

        async def trickle() -> None:
            while True:
                await client.send("X-Slow: loris\n")
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            response = await client.response()
            nursery.cancel_scope.cancel()
        assert response.status == 408
        assert response.json["code"] == "REQUEST_TIMEOUT"


async def test_a_second_request_that_trickles_in_is_given_the_header_timeout_not_the_keep_alive_timeout(
    idle_clock: MockClock,
) -> None:
    limits = WireLimits(header_timeout=0.1, keep_alive_timeout=60)
    async with serving(hello, limits) as running, await running.connect() as client:
        await client.send(GET)
        assert (await client.response()).status == 200
        await client.send("GET / HTT")
        assert (await client.response()).status == 408
        assert await client.closed()


async def test_headers_beyond_the_limit_are_answered_431() -> None:
    async with serving(hello) as running, await running.connect() as client:
        await client.send("GET / HTTP/1.1\nHost: test\nX-Large: " + "x" * 40_000)
        response = await client.response()
        assert (response.status, response.json["code"]) == (431, "HEADERS_TOO_LARGE")
        assert await client.closed()


@pytest.mark.parametrize(
    "request_line",
    ["nonsense", "GET /\x01 HTTP/1.1\nHost: test", "GET / HTTP/1.1\nbad header\nHost: t"],
)
async def test_what_is_not_http_is_answered_400_in_the_envelope(request_line: str) -> None:
    with capture_logs() as logs:
        async with serving(hello) as running, await running.connect() as client:
            await client.send(request_line + "\n\n")
            response = await client.response()
            assert response.status == 400
            assert response.json["code"] == "VALIDATION"
            assert response.json["requestId"] == response.headers["x-request-id"]
            assert response.headers["x-content-type-options"] == "nosniff"
            assert await client.closed()
    assert [(line["event"], line["client"]) for line in logs] == [("request refused", "127.0.0.1")]


async def test_two_lengths_in_one_request_are_answered_400_and_what_follows_is_not_served() -> None:
    async with serving(echo) as running, await running.connect() as client:
        smuggled = "GET /admin HTTP/1.1\nHost: test\n\n"
        await client.send(
            "POST / HTTP/1.1\nHost: test\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n" + smuggled
        )
        response = await client.response()
        assert response.status == 400
        assert response.headers["connection"] == "close"
        assert await client.closed()


async def test_the_answer_to_a_broken_request_is_not_lost_to_a_reset() -> None:
    async with serving(hello) as running, await running.connect() as client:
        # Much more than we will read of it: closing on top of it must not destroy the answer.
        await client.send(b"BROKEN\r\n\r\n" + b"x" * 1_000_000)
        assert (await client.response()).status == 400
        assert await client.closed()


async def writes_of(app: Any, more: Callable[[Http1], Awaitable[None]] | None = None) -> list[bytes]:
    """What is written to a client that asks *app*; with *more*, by the protocol itself until that ends."""
    writes: list[bytes] = []

    async def send(event: Event) -> None:
        if isinstance(event, RawData):
            writes.append(event.data)

    async with trio.open_nursery() as nursery:
        tasks, context = Tasks(nursery), WorkerContext(None)
        protocol = Http1(app, Config(), context, tasks, ConnectionState({}), False, None, None, send)
        await protocol.handle(RawData(GET.replace("\n", "\r\n").encode()))
        if more is not None:
            await more(protocol)
            nursery.cancel_scope.cancel()
    return writes


async def test_a_small_response_leaves_in_one_write() -> None:
    writes = await writes_of(hello)
    assert len(writes) == 1
    assert writes[0].endswith(b"\r\n\r\n/")


async def test_an_empty_piece_of_a_stream_does_not_end_it() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep_forever()  # the answer is written below it, where nobody drops what is empty

    async def answer(protocol: Http1) -> None:
        await protocol.stream_send(Response(stream_id=1, headers=[], status_code=200))
        for piece in (b"a", b"", b"b"):
            await protocol.stream_send(Body(stream_id=1, data=piece))

    head, *pieces = await writes_of(silent, answer)
    assert b"Transfer-Encoding: chunked" in head
    assert pieces == [b"1\r\na\r\n", b"1\r\nb\r\n"]


async def test_the_head_of_a_stream_leaves_before_its_first_chunk() -> None:
    go_on = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"now", "more_body": False})

    async with serving(app) as running, await running.connect() as client:
        await client.send(GET)
        head = await client.head()
        assert head.headers["transfer-encoding"] == "chunked"
        go_on.set()
        assert [chunk async for chunk in client.chunks()] == [b"now"]


async def test_a_client_that_leaves_is_told_to_the_application_at_once() -> None:
    left = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    async with serving(app) as running:
        async with await running.connect() as client:
            await client.send(GET)
            while not running.server.statistics().busy:
                await trio.lowlevel.checkpoint()
        await left.wait()


async def test_an_application_that_fails_before_its_answer_is_500_and_the_next_request_is_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("on purpose")

    async with serving(app) as running:
        for _ in range(2):
            async with await running.connect() as client:
                await client.send(GET)
                assert (await client.response()).status == 500


async def test_a_stream_whose_application_fails_is_not_ended_properly() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("on purpose")

    async with serving(app) as running, await running.connect() as client:
        await client.send(GET)
        await client.head()
        chunks = client.chunks()
        assert await anext(chunks) == b"half"
        with pytest.raises(EOFError):
            await anext(chunks)


async def test_a_body_that_its_application_does_not_read_blocks_nobody() -> None:
    async with serving(hello) as running:
        async with await running.connect() as client:
            await client.send("POST /x HTTP/1.1\nHost: test\nContent-Length: 2000000\n\n")
            assert (await client.response()).body == b"/x"
            await client.send(b"x" * 2_000_000)
        while running.server.statistics().open:
            await trio.lowlevel.checkpoint()


async def test_a_slow_application_is_sent_no_more_than_it_can_hold(idle_clock: MockClock) -> None:
    received = 0
    go_on = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await echo(scope, receive, send)

    async with serving(app) as running, await running.connect() as client:
        await client.send("POST / HTTP/1.1\nHost: test\nContent-Length: 50000000\n\n")
        with trio.move_on_after(0.5):
            while True:
                await client.stream.send_all(b"x" * 65536)
                received += 65536
        assert received < 20_000_000
        go_on.set()
        await client.stream.send_all(b"x" * 1000)


async def test_a_client_that_reads_nothing_loses_its_connection(idle_clock: MockClock) -> None:
    limits = WireLimits(write_timeout=0.2)
    async with serving(endless, limits) as running, await running.connect() as client:
        await client.send(GET)
        while not running.server.statistics().busy:
            await trio.lowlevel.checkpoint()
        while running.server.statistics().open:
            await trio.sleep(0.01)


async def test_expect_continue_is_answered_before_the_body_is_sent() -> None:
    async with serving(echo) as running, await running.connect() as client:
        await client.send("POST / HTTP/1.1\nHost: test\nContent-Length: 2\nExpect: 100-continue\n\n")
        assert (await client.head()).status == 100
        await client.send(b"ok")
        assert (await client.response()).body == b"ok"


async def test_more_connections_than_allowed_are_answered_503_and_room_is_given_back() -> None:
    async with serving(hello, WireLimits(max_connections=2)) as running:
        first, second = await running.connect(), await running.connect()
        for client in (first, second):
            await client.send(GET)
            assert (await client.response()).status == 200
        async with await running.connect() as third:
            response = await third.response()
            assert (response.status, response.json["code"]) == (503, "UNAVAILABLE")
            assert await third.closed()
        await first.stream.aclose()
        while running.server.statistics().open > 1:
            await trio.lowlevel.checkpoint()
        async with await running.connect() as fourth:
            await fourth.send(GET)
            assert (await fourth.response()).status == 200
        await second.stream.aclose()


async def test_http_2_with_prior_knowledge_is_spoken_on_the_same_port() -> None:
    import h2.connection
    import h2.events

    async with serving(echo) as running, await running.connect() as client:
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        headers = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "test")]
        connection.send_headers(1, headers)
        connection.send_data(1, b"over two", end_stream=True)
        await client.send(connection.data_to_send())
        body, done = b"", False
        while not done:
            for event in connection.receive_data(await client.receive()):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                done = done or isinstance(event, h2.events.StreamEnded)
        assert body == b"over two"


@pytest.mark.parametrize("asked", [True, False], ids=["after a request", "without any"])
async def test_an_idle_http_2_connection_is_closed_in_time_whatever_else_it_says(
    asked: bool, idle_clock: MockClock
) -> None:
    import h2.connection
    import h2.events

    limits = WireLimits(header_timeout=0.05, keep_alive_timeout=0.2)
    with trio.fail_after(20):
        async with serving(hello, limits) as running, await running.connect() as client:
            connection = h2.connection.H2Connection()
            connection.initiate_connection()
            if asked:
                headers = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "test")]
                connection.send_headers(1, headers, end_stream=True)
            await client.send(connection.data_to_send())
            wanted: type = h2.events.StreamEnded if asked else h2.events.RemoteSettingsChanged
            while not any(isinstance(e, wanted) for e in connection.receive_data(await client.receive())):
                pass
            while running.server.statistics().busy:
                await trio.lowlevel.checkpoint()
            connection.ping(b"an idler")
            await client.send(connection.data_to_send())
            while await client.receive():
                pass
            assert not running.server.statistics().busy


async def test_an_http_2_connection_whose_requests_were_all_called_off_is_idle() -> None:
    import h2.connection

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    with trio.fail_after(20):
        async with serving(silent) as running, await running.connect() as client:
            connection = h2.connection.H2Connection()
            connection.initiate_connection()
            headers = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "test")]
            for stream in (1, 3):
                connection.send_headers(stream, headers, end_stream=True)
            await client.send(connection.data_to_send())
            while not running.server.statistics().busy:
                await trio.lowlevel.checkpoint()
            for stream in (1, 3):
                connection.reset_stream(stream)
            await client.send(connection.data_to_send())
            while running.server.statistics().busy:
                await trio.lowlevel.checkpoint()


async def test_draining_closes_idle_connections_and_lets_requests_in_flight_finish() -> None:
    go_on = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await go_on.wait()
        await hello(scope, receive, send)

    async with (
        serving(app) as running,
        await running.connect() as idle,
        await running.connect() as busy,
        trio.open_nursery() as nursery,
    ):
        await idle.send(GET)
        assert (await idle.response()).status == 200
        await busy.send("GET /slow HTTP/1.1\nHost: test\n\n")
        while not running.server.statistics().busy:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(running.server.drain, 10)
        assert await idle.closed()
        go_on.set()
        assert (await busy.response()).body == b"/slow"
        assert await busy.closed()


async def test_draining_has_an_end_whatever_clients_do(idle_clock: MockClock) -> None:
    async with serving(endless) as running, await running.connect() as client:
        await client.send(GET)
        await client.head()
        with trio.fail_after(30):
            await running.server.drain(0.2)
        assert running.server.statistics().open == 0


async def test_a_cancelled_server_leaves_its_socket_usable_for_the_next() -> None:
    from understudy.http.server import Server

    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                await nursery.start(Server(hello, [listener]).serve)
                async with RawClient(await trio.open_tcp_stream(*listener.getsockname())) as client:
                    await client.send(GET)
                    assert (await client.response()).status == 200
                    nursery.cancel_scope.cancel()
