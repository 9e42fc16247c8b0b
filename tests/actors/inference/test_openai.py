"""The OpenAI-compatible client against a provider on a real socket."""

import math
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.support.provider import HEAD, Behaviour, StandIn, event, framed, stand_in
from understudy.actors.inference.errors import UpstreamFailed, UpstreamTimedOut
from understudy.actors.inference.messages import (
    ChatMessage,
    Finished,
    ModelEvent,
    ModelRequest,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    ToolSpec,
)
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.openai_wire import Accent, encode_request
from understudy.actors.inference.timeouts import Timeouts
from understudy.storage.records import Role, ToolCall, Usage

REQUEST = ModelRequest("openai", "fake", (ChatMessage(Role.USER, "hi"),))
SLOW = Timeouts(connect=5, first_token=5, idle=5, total=5)


class MakeClient(Protocol):
    def __call__(
        self, provider: StandIn | str, timeouts: Timeouts = SLOW, key: str | None = "sk-secret"
    ) -> OpenAIClient: ...


@pytest.fixture
async def client_of() -> AsyncIterator[MakeClient]:
    made: list[OpenAIClient] = []

    def make(provider: StandIn | str, timeouts: Timeouts = SLOW, key: str | None = "sk-secret") -> OpenAIClient:
        url = provider if isinstance(provider, str) else provider.base_url
        made.append(OpenAIClient(url, key, timeouts=timeouts))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


async def ask(client: OpenAIClient, request: ModelRequest = REQUEST) -> list[ModelEvent]:
    with trio.fail_after(30):
        async with client.stream(request) as events:
            return [one async for one in events]


def text_of(events: list[ModelEvent]) -> str:
    return "".join(one.text for one in events if isinstance(one, TextDelta))


async def failure(client: OpenAIClient) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as caught:
        await ask(client)
    return caught.value


@pytest.mark.parametrize("gap", [0.0, 2.0])
async def test_an_answer_streams_and_its_connection_is_kept(gap: float, client_of: MakeClient) -> None:
    async with stand_in(Behaviour(tokens=3, gap_ms=gap)) as provider:
        client = client_of(provider)
        for _ in range(3):
            events = await ask(client)
            assert text_of(events) == "tok0 tok1 tok2 "
            assert events[-1] == Finished("stop", Usage(9, 12), "fake")
        assert client.statistics().opened == 1
        assert client.statistics().reused == 2
        assert len(provider.connections) == 1
        await client.aclose()
        with trio.fail_after(20):
            await provider.connections[0].closed.wait()


async def test_the_request_carries_all_that_was_asked_for(client_of: MakeClient) -> None:
    request = ModelRequest(
        "openai",
        "fake",
        (
            ChatMessage(Role.SYSTEM, "be brief"),
            ChatMessage(Role.USER, "2+2?"),
            ChatMessage(Role.ASSISTANT, "", (ToolCall("c1", "calculator", '{"expression":"2+2"}'),)),
            ChatMessage(Role.TOOL, "4", tool_call_id="c1"),
        ),
        tools=(ToolSpec("calculator", "calculates", {"type": "object", "properties": {}}),),
        temperature=0.5,
        max_output_tokens=77,
    )
    async with stand_in() as provider:
        await ask(client_of(provider), request)
        seen = provider.requests[0]
    assert seen.target == "/v1/chat/completions"
    assert seen.headers["authorization"] == "Bearer sk-secret"
    assert seen.body["stream"] is True
    assert seen.body["stream_options"] == {"include_usage": True}
    assert seen.body["max_tokens"] == 77
    assert seen.body["temperature"] == 0.5
    assert seen.body["tools"][0]["function"]["name"] == "calculator"
    assert seen.body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "2+2?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "calculator", "arguments": '{"expression":"2+2"}'},
                }
            ],
        },
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
    ]


async def test_what_was_not_asked_for_is_not_sent(client_of: MakeClient) -> None:
    async with stand_in() as provider:
        await ask(client_of(provider, key=None))
        seen = provider.requests[0]
    assert set(seen.body) == {"model", "messages", "stream", "stream_options"}
    assert "authorization" not in seen.headers


@pytest.mark.parametrize(
    ("said", "renamed"),
    [
        ("Unsupported value: 'temperature' does not support 0.5 with this model.", {"temperature": None}),
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            {"max_tokens": "max_completion_tokens"},
        ),
        ('{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}', {"stream_options": None}),
    ],
)
async def test_a_field_that_a_model_refuses_is_left_out_or_renamed_at_once_and_from_then_on(
    said: str, renamed: dict[str, str | None], client_of: MakeClient
) -> None:
    request = ModelRequest("openai", "fake", REQUEST.messages, temperature=0.5, max_output_tokens=9)
    async with stand_in() as provider:
        provider.enqueue(Behaviour(status=400, body=said))
        client = client_of(provider)
        for _ in range(2):
            assert text_of(await ask(client, request))
        first, *others = (set(seen.body) for seen in provider.requests)
        assert len(others) == 2
        for fields in others:
            assert fields == (first - set(renamed)) | {new for new in renamed.values() if new}
        another = ModelRequest("openai", "other", REQUEST.messages, temperature=0.5, max_output_tokens=9)
        await ask(client, another)
        assert set(provider.requests[-1].body) == first, "another model may take it"


@pytest.mark.parametrize("said", ["temperature must be below 1", "unknown model", "max_tokens is too large: 9"])
async def test_a_refusal_that_names_no_field_as_unknown_is_told(said: str, client_of: MakeClient) -> None:
    async with stand_in(Behaviour(status=400, body=said)) as provider:
        request = ModelRequest("openai", "fake", REQUEST.messages, temperature=0.5, max_output_tokens=9)
        with pytest.raises(UpstreamFailed, match=said):
            await ask(client_of(provider), request)
        assert len(provider.requests) == 1


def test_mistral_is_written_to_with_short_call_ids_and_without_stream_options() -> None:
    calls = (ToolCall("call_0fypS1hVX", "now", "{}"), ToolCall("abcDEF123", "now", "{}"))
    messages = (
        ChatMessage(Role.ASSISTANT, "", calls),
        *(ChatMessage(Role.TOOL, "noon", tool_call_id=call.id) for call in calls),
    )
    body: Any = encode_request(ModelRequest("mistral", "m", messages), Accent.of("api.mistral.ai"))
    asked, first, second = body["messages"]
    ids = [call["id"] for call in asked["tool_calls"]]
    assert ids == [first["tool_call_id"], second["tool_call_id"]]
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert ids[1] == "abcDEF123"
    assert "stream_options" not in body


def test_openai_itself_is_told_the_limit_under_its_newer_name() -> None:
    request = ModelRequest("openai", "m", REQUEST.messages, max_output_tokens=9)
    assert encode_request(request, Accent.of("api.openai.com"))["max_completion_tokens"] == 9
    assert encode_request(request, Accent.of("127.0.0.1"))["max_tokens"] == 9


async def test_tool_calls_come_as_start_and_completion(client_of: MakeClient) -> None:
    arguments = '{"expression":"1+1"}'
    async with stand_in(Behaviour(tool_calls=(("calculator", arguments), ("datetime_now", "{}")))) as provider:
        events = await ask(client_of(provider))
    assert events == [
        ToolCallStarted(0, "call_0", "calculator"),
        ToolCallStarted(1, "call_1", "datetime_now"),
        ToolCallCompleted(0, "call_0", "calculator", arguments),
        ToolCallCompleted(1, "call_1", "datetime_now", "{}"),
        Finished("tool_calls", Usage(9, 12), "fake"),
    ]


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(tokens=2, crlf=True),
        Behaviour(tokens=2, usage=False),
        Behaviour(tokens=2, done=False),
        Behaviour(tokens=2, usage=False, done=False),
        Behaviour(tokens=2, reason=None),
    ],
)
async def test_servers_with_an_accent_are_understood(behaviour: Behaviour, client_of: MakeClient) -> None:
    async with stand_in(behaviour) as provider:
        events = await ask(client_of(provider))
    assert text_of(events) == "tok0 tok1 "
    assert isinstance(events[-1], Finished)
    assert events[-1].estimated is not behaviour.usage


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(1, 2000), max_size=6))
async def test_an_answer_is_the_same_however_its_bytes_are_cut(cuts: list[int]) -> None:
    words = ["Grüße, ", "世界 ", "🎭!"]
    body = b"".join(framed(event({"content": word})) for word in words)
    whole = HEAD + body + framed(event({}, "stop")) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    edges = sorted({cut % len(whole) for cut in cuts} | {0, len(whole)})

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            for start, end in zip(edges, edges[1:], strict=False):  # noqa: RUF007  pairwise hides what is cut
                await stream.send_all(whole[start:end])
                await trio.sleep(0.0005)
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        client = OpenAIClient(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1", timeouts=SLOW)
        assert text_of(await ask(client)) == "".join(words)
        await client.aclose()
        nursery.cancel_scope.cancel()


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


async def test_a_finish_reason_without_anything_behind_it_ends_soon_on_an_open_connection(
    client_of: MakeClient, idle_clock: MockClock
) -> None:
    raw = HEAD + framed(event({"content": "hm"})) + framed(event({}, "stop"))
    async with stand_in() as provider:
        provider.enqueue(Behaviour(raw=raw))
        begin = trio.current_time()
        assert text_of(await ask(client_of(provider, Timeouts(5, 5, 0.2, 60)))) == "hm"
        assert trio.current_time() - begin < 10


@pytest.mark.parametrize("how", ["cancel", "break", "error"])
async def test_leaving_early_closes_the_connection_and_not_one_more_byte_is_sent(
    how: str, client_of: MakeClient
) -> None:
    class Oops(Exception):
        pass

    async with stand_in(Behaviour(tokens=100_000, gap_ms=1)) as provider:
        client = client_of(provider)
        with trio.CancelScope() as scope:
            try:
                async with client.stream(REQUEST) as events:
                    seen = 0
                    async for _ in events:
                        seen += 1
                        if seen == 5:
                            if how == "break":
                                break
                            if how == "error":
                                raise Oops  # noqa: TRY301  leaving is the point
                            scope.cancel()
            except Oops:
                pass
        left = trio.current_time()
        with trio.fail_after(20):
            await provider.connections[0].closed.wait()
        assert provider.connections[0].closed_by_peer
        assert provider.connections[0].sent_after(left) == 0
        assert client.statistics().idle == 0


async def test_cancelling_while_the_head_is_awaited_closes_the_connection(
    client_of: MakeClient, idle_clock: MockClock
) -> None:
    async with stand_in(Behaviour(stall_head=True)) as provider:
        with trio.move_on_after(0.05) as scope:
            await ask(client_of(provider))
        assert scope.cancelled_caught
        with trio.fail_after(20):
            await provider.connections[0].closed.wait()
        assert provider.connections[0].closed_by_peer


async def test_a_flood_is_not_read_further_once_the_reader_has_left(client_of: MakeClient) -> None:
    async with stand_in(Behaviour(tokens=200_000)) as provider:
        async with client_of(provider).stream(REQUEST) as events:
            async for _ in events:
                break
        with trio.fail_after(30):
            await provider.connections[0].closed.wait()


async def test_a_kept_connection_that_the_server_closed_is_replaced(client_of: MakeClient) -> None:
    async with stand_in() as provider:
        client = client_of(provider)
        provider.enqueue(Behaviour(), Behaviour(drop=True), Behaviour(tokens=1))
        await ask(client)
        # The second request meets a server that closes without an answer: nothing came, so it is tried afresh, once.
        assert text_of(await ask(client)) == "tok0 "
        assert len(provider.requests) == 3
        assert client.statistics().stale == 1
        provider.enqueue(Behaviour(drop=True), Behaviour(drop=True), Behaviour(tokens=1))
        with pytest.raises(UpstreamFailed, match="closed the connection"):
            await ask(client)
        assert len(provider.requests) == 5


async def test_a_kept_connection_that_died_in_the_meantime_is_noticed_before_use(client_of: MakeClient) -> None:
    async with stand_in(Behaviour(close=True, tokens=1)) as provider:
        client = client_of(provider)
        for _ in range(3):
            assert text_of(await ask(client)) == "tok0 "
            with trio.fail_after(20):
                await provider.connections[-1].closed.wait()
        assert len(provider.requests) == 3
        assert client.statistics().reused == 0, "no request was spent on a dead connection"


async def test_a_cut_in_the_middle_of_an_answer_is_never_repeated(client_of: MakeClient) -> None:
    async with stand_in() as provider:
        client = client_of(provider)
        await ask(client)
        provider.enqueue(Behaviour(cut_after=1))
        with pytest.raises(UpstreamFailed, match="cut"):
            await ask(client)
        assert len(provider.requests) == 2


async def test_many_streams_at_once_do_not_mix(client_of: MakeClient) -> None:
    async with stand_in() as provider:
        client = client_of(provider)
        answers: dict[int, str] = {}

        async def one(number: int) -> None:
            message = ChatMessage(Role.USER, f"!text=answer-{number}-is-here gap_ms=1")
            answers[number] = text_of(await ask(client, ModelRequest("openai", "fake", (message,))))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
        assert answers == {number: f"answer-{number}-is-here" for number in range(50)}
        assert client.statistics().idle <= 32
        await client.aclose()


@pytest.mark.parametrize("url", ["ftp://x/v1", "api.openai.com/v1", "http:///v1", ""])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        OpenAIClient(url)
