"""What goes wrong with an answer, and how the OpenAI-compatible client says so."""

import math

import pytest
import trio
from trio.testing import MockClock

from tests.actors.inference.stage import REQUEST, MakeClient, ask, failure, text_of
from tests.support.provider import HEAD, Behaviour, event, stand_in
from understudy.actors.inference.errors import UpstreamFailed, UpstreamTimedOut
from understudy.actors.inference.messages import (
    ModelEvent,
)
from understudy.actors.inference.timeouts import Timeouts


async def test_an_answer_that_ends_with_the_connection_is_whole_only_with_an_end_marker(client_of: MakeClient) -> None:
    head = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    async with stand_in() as provider:
        client = client_of(provider)
        provider.enqueue(Behaviour(raw=head + event({"content": "all"}) + event({}, "stop"), close=True))
        assert text_of(await ask(client)) == "all"
        provider.enqueue(Behaviour(raw=head + event({"content": "some"}), close=True))
        with pytest.raises(UpstreamFailed, match="without an end marker"):
            await ask(client)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Behaviour(tokens=5, cut_after=2), "cut its answer short"),
        (Behaviour(tokens=5, cut_after=0), "cut its answer short"),
        (Behaviour(tokens=5, garbage_after=2), "no chat chunk"),
        (Behaviour(tokens=5, truncate_after=2), "no chat chunk"),
        (Behaviour(tokens=5, error_after=2), "failed during its answer: the model fell over"),
        (Behaviour(content_type="text/html", body="<h1>Welcome</h1>"), "text/html instead of an event stream: <h1>Wel"),
        (Behaviour(content_type="application/json", body='{"choices":[]}'), "application/json instead of an event str"),
        (Behaviour(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n", close=True), "not a valid HTTP response"),
        (Behaviour(raw=b"HTTP/1.1 200 OK\r\nconte", close=True), "closed the connection before it answered"),
        (Behaviour(raw=HEAD + b"zz\r\nhello\r\n", close=True), "not a valid HTTP response"),
        (Behaviour(drop=True), "closed the connection before it answered"),
    ],
)
async def test_a_broken_answer_is_an_error_that_says_what_broke(
    behaviour: Behaviour, words: str, client_of: MakeClient
) -> None:
    async with stand_in() as provider:
        provider.enqueue(behaviour)
        error = await failure(client_of(provider))
        assert words in error.message
        assert error.message.startswith("openai")
        assert error.code == "PROVIDER_ERROR"


async def test_what_was_streamed_before_the_cut_was_delivered(client_of: MakeClient) -> None:
    async with stand_in() as provider:
        provider.enqueue(Behaviour(tokens=5, cut_after=2))
        seen: list[ModelEvent] = []

        async def read() -> None:
            async with client_of(provider).stream(REQUEST) as events:
                async for one in events:
                    seen.append(one)

        with pytest.raises(UpstreamFailed):
            await read()
    assert text_of(seen) == "tok0 tok1 "


@pytest.mark.parametrize(
    ("status", "body", "words", "retryable", "at_fault"),
    [
        (400, '{"error":{"message":"bad temperature"}}', "openai answered 400: bad temperature", False, False),
        (401, '{"error":"nope sk-secret"}', "openai refused the API key (401): nope …", False, False),
        (404, '{"detail":"no such model"}', "openai answered 404: no such model", False, False),
        (413, "", "openai answered 413", False, False),
        (429, '{"error":{"message":"slow down"}}', "openai is rate limiting us (429): slow down", True, True),
        (500, "<html>\n<b>oops</b>", "openai answered 500: <html> <b>oops</b>", True, True),
        (503, "x" * 5000, "openai answered 503: " + "x" * 299 + "…", True, True),
        (302, "", "openai redirects (302) to None: correct its base URL", False, False),
    ],
)
async def test_a_refusal_by_status_is_told_in_short(
    status: int, body: str, words: str, retryable: bool, at_fault: bool, client_of: MakeClient
) -> None:
    async with stand_in() as provider:
        provider.enqueue(Behaviour(status=status, body=body))
        error = await failure(client_of(provider))
    assert error.message == words
    assert (error.status, error.retryable, error.at_fault) == (status, retryable, at_fault)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("999999", 3600.0),
        ("-3", 0.0),
        ("nan", None),
        ("soon", None),
        (None, None),
        ("Thu, 01 Jan 2026 00:00:30 GMT\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT", 30.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", None),
    ],
)
async def test_a_rate_limits_retry_after_is_carried(
    header: str | None, seconds: float | None, client_of: MakeClient
) -> None:
    async with stand_in() as provider:
        provider.enqueue(Behaviour(status=429, retry_after=header))
        assert (await failure(client_of(provider))).retry_after == seconds


async def test_an_unreachable_provider_is_named_with_its_reason(client_of: MakeClient) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(UpstreamFailed, match=f"cannot connect to 127.0.0.1 port {port}: Connection refused") as caught:
        await ask(client_of(f"http://127.0.0.1:{port}/v1"))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("behaviour", "timeouts", "phase"),
    [
        (Behaviour(stall_head=True), Timeouts(5, 0.05, 5, 5), "first token"),
        (Behaviour(first_ms=math.inf), Timeouts(5, 0.05, 5, 5), "first token"),
        (Behaviour(stall_after=2), Timeouts(5, 5, 0.05, 5), "idle"),
        (Behaviour(tokens=10_000, gap_ms=5), Timeouts(5, 5, 5, 0.1), "total"),
        (Behaviour(stall_head=True), Timeouts(5, 5, 5, 0.05), "total"),
    ],
)
async def test_each_timeout_names_its_phase_and_closes_the_connection(
    behaviour: Behaviour, timeouts: Timeouts, phase: str, client_of: MakeClient, idle_clock: MockClock
) -> None:
    async with stand_in(behaviour) as provider:
        with pytest.raises(UpstreamTimedOut) as caught:
            await ask(client_of(provider, timeouts))
        assert caught.value.phase == phase
        assert caught.value.code == "TIMEOUT"
        with trio.fail_after(20):
            await provider.connections[0].closed.wait()
        assert provider.connections[0].closed_by_peer


async def test_a_connection_that_never_comes_about_is_a_connect_timeout(
    client_of: MakeClient, idle_clock: MockClock
) -> None:
    with trio.socket.socket() as full:
        # A listener whose queue is full answers no further SYN.
        await full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = []
        for _ in range(3):
            waiting.append(trio.socket.socket())
            with trio.move_on_after(0.05):
                await waiting[-1].connect(address)
        client = client_of(f"http://127.0.0.1:{address[1]}/v1", Timeouts(connect=0.1))
        with pytest.raises(UpstreamTimedOut, match=r"no connection to 127.0.0.1 port \d+ within 0.1 s") as caught:
            await ask(client)
        for one in waiting:
            one.close()
    assert caught.value.phase == "connect"
    assert caught.value.retryable
