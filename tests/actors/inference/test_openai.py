"""The OpenAI-compatible client against a provider on a real socket."""

from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.actors.inference.stage import REQUEST, SLOW, MakeClient, ask, text_of
from tests.support.provider import HEAD, Behaviour, event, framed, stand_in
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.messages import (
    ChatMessage,
    Finished,
    ModelRequest,
    ToolCallCompleted,
    ToolCallStarted,
    ToolSpec,
)
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.openai_wire import Accent, encode_request
from understudy.storage.records import Role, ToolCall, Usage


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


@pytest.mark.parametrize("url", ["ftp://x/v1", "api.openai.com/v1", "http:///v1", ""])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        OpenAIClient(url)
