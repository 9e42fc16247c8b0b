"""Posting to a collector, over sockets."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest
import trio

from tests.support.node import free_port
from tests.support.receiver import receiving
from understudy.actors.traces.collector import HttpCollector
from understudy.actors.traces.ports import CollectorAway, CollectorRefused, Taken


@contextmanager
def at(url: str, headers: Sequence[tuple[str, str]] = ()) -> Iterator[HttpCollector]:
    collector = HttpCollector(url, headers)
    try:
        yield collector
    finally:
        collector.close()


async def test_a_request_goes_below_the_endpoint_with_the_headers_that_were_given() -> None:
    with trio.fail_after(30):
        async with receiving() as receiver:
            with at(f"{receiver.url}/otlp", [("api-key", "s3cret"), ("x-tenant", "ours")]) as collector:
                assert await collector.send(b'{"resourceSpans":[]}') == Taken()
        (got,) = receiver.got
        assert (got.path, got.body) == ("/otlp/v1/traces", b'{"resourceSpans":[]}')
        assert (got.headers["api-key"], got.headers["x-tenant"]) == ("s3cret", "ours")
        assert (got.headers["content-type"], got.headers["content-length"]) == ("application/json", "20")
        assert "s3cret" not in collector.place


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_collector_that_has_no_time_is_away(status: int) -> None:
    with trio.fail_after(30):
        async with receiving(status) as receiver:
            with at(receiver.url) as collector, pytest.raises(CollectorAway, match=str(status)):
                await collector.send(b"{}")


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 500])
async def test_other_answers_are_refusals_and_no_redirect_is_followed(status: int) -> None:
    with trio.fail_after(30):
        async with receiving(status) as receiver:
            with at(receiver.url) as collector, pytest.raises(CollectorRefused, match=str(status)):
                await collector.send(b"{}")
            assert len(receiver.got) == 1


async def test_nobody_there_is_away_and_somebody_there_again_is_found() -> None:
    port = free_port()
    with trio.fail_after(30), at(f"http://127.0.0.1:{port}") as collector:
        with pytest.raises(CollectorAway):
            await collector.send(b"{}")
        async with receiving(port=port) as receiver:
            await collector.send(b"{}")
            assert len(receiver.got) == 1
    assert collector.place == f"http://127.0.0.1:{port}"


async def test_a_collector_that_speaks_something_else_is_away_and_one_that_rejects_spans_says_so() -> None:
    answers = [
        (b"\x00\x00\x12\x04\x00\x00", None),
        (b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}', Taken(3, "too old")),
        (b'{"partialSuccess":{}}', Taken()),
        (b"OK", Taken()),
    ]

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            while b"\r\n\r\n{}" not in await stream.receive_some():
                pass
            body, taken = answers[0]
            head = b"" if taken is None else b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
            await stream.send_all(head + body)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            with at(f"http://127.0.0.1:{listener.socket.getsockname()[1]}") as collector:
                while answers:
                    if answers[0][1] is None:
                        with pytest.raises(CollectorAway):
                            await collector.send(b"{}")
                    else:
                        assert await collector.send(b"{}") == answers[0][1]
                    answers.pop(0)
            nursery.cancel_scope.cancel()
