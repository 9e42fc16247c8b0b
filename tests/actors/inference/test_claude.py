"""The Messages API against a provider on a real socket, and its events one by one."""

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from tests.actors.inference.stage import SLOW, ask
from tests.support.dialects import named
from tests.support.provider import HEAD, Behaviour, framed, stand_in
from understudy.actors.inference.claude import ClaudeClient, MessageAssembler
from understudy.actors.inference.claude_wire import encode_request
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.keepsakes import Keepsakes
from understudy.actors.inference.messages import (
    ChatMessage,
    Finished,
    ModelEvent,
    ModelRequest,
    PromptCache,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    ToolSpec,
)
from understudy.actors.inference.timeouts import Timeouts
from understudy.storage.records import Role, ToolCall, Usage

CALCULATOR = ToolSpec("calculator", "calculates", {"type": "object", "properties": {}})
THOUGHT = {"type": "thinking", "thinking": "Hm, well.", "signature": "c2lnbmVk"}
EPHEMERAL = {"type": "ephemeral"}


def request(*messages: ChatMessage, **more: Any) -> ModelRequest:
    return ModelRequest("claude", "fake", messages or (ChatMessage(Role.USER, "hi"),), **more)


def assemble(*events: bytes) -> list[ModelEvent]:
    assembler = MessageAssembler("claude", request(), Keepsakes())
    found: list[ModelEvent] = []
    for one in events:
        found.extend(assembler.feed(one.partition(b"data: ")[2].strip()))
    return [*found, *assembler.finish()]


def written(*messages: ChatMessage, **more: Any) -> dict[str, Any]:
    body = encode_request(request(*messages, **more), lambda _: None)
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    return decoded


async def test_an_answer_streams_without_its_thinking_and_tells_what_the_prompt_cache_saved() -> None:
    async with stand_in(Behaviour(tokens=3)) as provider:
        client = ClaudeClient(provider.base_url, "sk-ant-secret", timeouts=SLOW)
        for _ in range(2):
            events = await ask(client, request())
            assert "".join(one.text for one in events if isinstance(one, TextDelta)) == "tok0 tok1 tok2 "
            assert events[-1] == Finished("stop", Usage(9, 12), "fake", cache=PromptCache(read=3, written=2))
        assert client.statistics().reused == 1
        await client.aclose()
        seen = provider.requests[0]
    assert seen.target == "/v1/messages"
    assert seen.headers["x-api-key"] == "sk-ant-secret"
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in seen.headers


def test_the_conversation_is_written_as_alternating_blocks() -> None:
    body = written(
        ChatMessage(Role.SYSTEM, "be brief"),
        ChatMessage(Role.USER, "2+2 and the time?"),
        ChatMessage(
            Role.ASSISTANT, "Wait.", (ToolCall("c1", "calculator", '{"expression":"2+2"}'), ToolCall("c:2", "now", "x"))
        ),
        ChatMessage(Role.TOOL, "4", tool_call_id="c1"),
        ChatMessage(Role.TOOL, "", tool_call_id="c:2"),
        ChatMessage(Role.USER, "well?"),
        tools=(CALCULATOR,),
        temperature=1.5,
        max_output_tokens=77,
    )
    assert body == {
        "model": "fake",
        "max_tokens": 77,
        "stream": True,
        "temperature": 1.0,
        "system": [{"type": "text", "text": "be brief", "cache_control": EPHEMERAL}],
        "tools": [
            {"name": "calculator", "description": "calculates", "input_schema": {"type": "object", "properties": {}}}
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "2+2 and the time?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Wait."},
                    {"type": "tool_use", "id": "c1", "name": "calculator", "input": {"expression": "2+2"}},
                    {"type": "tool_use", "id": "c_2", "name": "now", "input": {"arguments": "x"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "4"},
                    {"type": "tool_result", "tool_use_id": "c_2"},
                    {"type": "text", "text": "well?", "cache_control": EPHEMERAL},
                ],
            },
        ],
    }


def test_what_this_api_refuses_is_not_sent() -> None:
    body = written(
        ChatMessage(Role.ASSISTANT, "I was saying"), ChatMessage(Role.USER, " \n"), ChatMessage(Role.USER, "hi")
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "hi", "cache_control": EPHEMERAL}]
    assert body["max_tokens"] > 0
    assert not {"system", "temperature", "tools", "tool_choice"} & set(body)


def test_a_last_round_without_tools_still_declares_those_that_were_called() -> None:
    body = written(
        ChatMessage(Role.USER, "2+2?"),
        ChatMessage(Role.ASSISTANT, "", (ToolCall("c1", "calculator", "{}"),)),
        ChatMessage(Role.TOOL, "4", tool_call_id="c1"),
    )
    assert [tool["name"] for tool in body["tools"]] == ["calculator"]
    assert body["tool_choice"] == {"type": "none"}


async def test_the_thinking_that_led_to_a_call_goes_back_with_its_result_and_only_there() -> None:
    arguments = '{"expression":"1+1"}'
    async with stand_in() as provider:
        client = ClaudeClient(provider.base_url, timeouts=SLOW)
        provider.enqueue(Behaviour(tool_calls=(("calculator", arguments), ("now", "{}"))), Behaviour(tokens=1))
        events = await ask(client, request(tools=(CALCULATOR,)))
        assert events == [
            ToolCallStarted(0, "toolu_0", "calculator"),
            ToolCallStarted(1, "toolu_1", "now"),
            ToolCallCompleted(0, "toolu_0", "calculator", arguments),
            ToolCallCompleted(1, "toolu_1", "now", "{}"),
            Finished("tool_calls", Usage(9, 12), "fake", cache=PromptCache(3, 2)),
        ]
        calls = tuple(one.as_call() for one in events if isinstance(one, ToolCallCompleted))
        await ask(
            client,
            request(
                ChatMessage(Role.USER, "earlier"),
                ChatMessage(Role.ASSISTANT, "", (ToolCall("toolu_old", "now", "{}"),)),
                ChatMessage(Role.TOOL, "noon", tool_call_id="toolu_old"),
                ChatMessage(Role.USER, "hi"),
                ChatMessage(Role.ASSISTANT, "", calls),
                *(ChatMessage(Role.TOOL, "2", tool_call_id=call.id) for call in calls),
            ),
        )
        await client.aclose()
        earlier, later = (m["content"] for m in provider.requests[1].body["messages"] if m["role"] == "assistant")
    assert later[0] == THOUGHT
    assert [block["type"] for block in later[1:]] == ["tool_use", "tool_use"]
    assert [block["type"] for block in earlier] == ["tool_use"]


def test_thinking_has_its_own_tokens_and_takes_no_temperature() -> None:
    body = written(max_output_tokens=100, thinking_tokens=2000, temperature=0.5)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert body["max_tokens"] == 2100
    assert "temperature" not in body


def test_a_turn_whose_thinking_is_gone_goes_on_without_it() -> None:
    called = (
        ChatMessage(Role.USER, "2+2?"),
        ChatMessage(Role.ASSISTANT, "", (ToolCall("c1", "calculator", "{}"),)),
        ChatMessage(Role.TOOL, "4", tool_call_id="c1"),
    )
    assert "thinking" not in written(*called, thinking_tokens=2000)
    assert "thinking" in written(*called, ChatMessage(Role.USER, "and 3+3?"), thinking_tokens=2000)
    kept = encode_request(request(*called, thinking_tokens=2000), lambda _: [THOUGHT])
    assert "thinking" in kept


async def test_a_model_that_takes_no_budget_for_thinking_is_left_to_judge_for_itself() -> None:
    said = '{"error":{"message":"`thinking.type.enabled` is not supported for this model; use `adaptive`"}}'
    async with stand_in(Behaviour(tokens=1)) as provider:
        provider.enqueue(Behaviour(status=400, body=said))
        client = ClaudeClient(provider.base_url, timeouts=SLOW)
        for _ in range(2):
            await ask(client, request(thinking_tokens=2000))
        await client.aclose()
        first, *others = (seen.body["thinking"] for seen in provider.requests)
    assert first["budget_tokens"] == 2000
    assert others == [{"type": "adaptive"}, {"type": "adaptive"}]


async def test_a_model_that_takes_no_temperature_is_asked_again_without_it_and_never_with_it_again() -> None:
    said = '{"type":"error","error":{"type":"invalid_request_error","message":"`temperature` is deprecated for this"}}'
    async with stand_in(Behaviour(tokens=1)) as provider:
        provider.enqueue(Behaviour(status=400, body=said))
        client = ClaudeClient(provider.base_url, timeouts=SLOW)
        for _ in range(2):
            assert len(await ask(client, request(temperature=0.5))) == 2
        await client.aclose()
        assert ["temperature" in seen.body for seen in provider.requests] == [True, False, False]


async def test_a_model_that_thinks_for_long_is_not_taken_for_a_silent_one(idle_clock: MockClock) -> None:
    thinking = named("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    more = named("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm "})
    answer = named("content_block_delta", index=1, delta={"type": "text_delta", "text": "yes"})
    end = named("message_delta", delta={"stop_reason": "end_turn"}) + named("message_stop")

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(HEAD + framed(thinking))
            for _ in range(6):
                await trio.sleep(0.05)
                await stream.send_all(framed(more))
            await stream.send_all(framed(answer + end) + b"0\r\n\r\n")
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        client = ClaudeClient(url, timeouts=Timeouts(connect=5, first_token=0.15, idle=5, total=5))
        assert (await ask(client, request()))[0] == TextDelta("yes")
        await client.aclose()
        nursery.cancel_scope.cancel()


def test_events_and_blocks_of_unknown_kinds_are_skipped() -> None:
    events = assemble(
        named("content_block_start", index=0, content_block={"type": "server_tool_use", "id": "x", "name": "web"}),
        named("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "{}"}),
        named("vibe", mood="good"),
        named("content_block_start", index=1, content_block={"type": "text", "text": "be"}),
        named("content_block_delta", index=1, delta={"type": "citations_delta", "citation": {}}),
        named("content_block_delta", index=1, delta={"type": "text_delta", "text": "gin"}),
        named("message_delta", delta={"stop_reason": "stop_sequence"}),
    )
    assert events[:-1] == [TextDelta("be"), TextDelta("gin")]
    assert events[-1] == Finished("stop", Usage(1, 2), "fake", estimated=True)


def test_arguments_that_come_whole_with_the_start_are_taken() -> None:
    block = {"type": "tool_use", "id": "t", "name": "calculator", "input": {"x": 1}}
    events = assemble(
        named("content_block_start", index=0, content_block=block),
        named("message_delta", delta={}),
        named("message_stop"),
    )
    assert events[1] == ToolCallCompleted(0, "t", "calculator", '{"x":1}')
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "tool_calls"


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([named("message_start", message={"model": "m"})], "cut its answer short"),
        ([named("message_delta", delta={"stop_reason": "refusal"})], "content filter"),
        ([named("message_delta", delta={"stop_reason": "max_tokens"})], "before the first word"),
        ([named("message_delta", delta={"stop_reason": "end_turn"})], "empty answer"),
        ([named("error", error={"type": "overloaded_error", "message": "Overloaded"})], "answer: Overloaded"),
        ([named("content_block_start", content_block={"type": "tool_use", "id": "t"})], "without a name"),
        ([b"data: {\n\n"], "no event"),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error(events: list[bytes], words: str) -> None:
    with pytest.raises(UpstreamFailed, match=words):
        assemble(*events)


def test_a_call_that_the_token_limit_cut_is_not_made() -> None:
    with pytest.raises(UpstreamFailed, match="in the middle of a tool call"):
        assemble(
            named("content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "f"}),
            named("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"a": "b'}),
            named("message_delta", delta={"stop_reason": "max_tokens"}),
        )
