"""Gemini's native API against a provider on a real socket, and its chunks one by one."""

from typing import Any

import msgspec
import pytest

from tests.actors.inference.stage import SLOW, ask
from tests.support.dialects import CONTENTS, unnamed
from tests.support.provider import Behaviour, stand_in
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.gemini import ContentAssembler, GeminiClient
from understudy.actors.inference.gemini_wire import encode_request
from understudy.actors.inference.keepsakes import Keepsakes
from understudy.actors.inference.messages import (
    ChatMessage,
    Finished,
    ModelEvent,
    ModelRequest,
    PromptCache,
    TextDelta,
    ToolCallCompleted,
    ToolSpec,
)
from understudy.storage.records import Role, ToolCall, Usage

BARE = ToolSpec("now", "tells the time", {})
CALL = ToolCall("c1", "calculator", '{"expression":"2+2"}')


def request(*messages: ChatMessage, model: str = "gemini-2.5-flash", **more: Any) -> ModelRequest:
    return ModelRequest("gemini", model, messages or (ChatMessage(Role.USER, "hi"),), **more)


def assemble(*chunks: bytes) -> list[ModelEvent]:
    assembler = ContentAssembler("gemini", request(), Keepsakes())
    found: list[ModelEvent] = []
    for one in chunks:
        found.extend(assembler.feed(one.removeprefix(b"data: ").strip()))
    return [*found, *assembler.finish()]


def written(*messages: ChatMessage, **more: Any) -> dict[str, Any]:
    body = encode_request(request(*messages, **more), lambda _: None)
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    return decoded


async def test_an_answer_streams_without_its_thinking_and_its_connection_is_kept() -> None:
    async with stand_in(Behaviour(tokens=3)) as provider:
        url = provider.base_url.replace("/v1", "/v1beta")
        client = GeminiClient(url, "AIza-secret", timeouts=SLOW)
        for _ in range(2):
            events = await ask(client, request())
            assert "".join(one.text for one in events if isinstance(one, TextDelta)) == "tok0 tok1 tok2 "
            assert events[-1] == Finished("stop", Usage(9, 12), "fake", cache=PromptCache(read=3))
        assert client.statistics().reused == 1
        await client.aclose()
        seen = provider.requests[0]
    assert seen.target == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert seen.headers["x-goog-api-key"] == "AIza-secret"


def test_the_conversation_is_written_as_contents() -> None:
    body = written(
        ChatMessage(Role.SYSTEM, "be brief"),
        ChatMessage(Role.USER, "2+2?"),
        ChatMessage(Role.ASSISTANT, "", (CALL,)),
        ChatMessage(Role.TOOL, "4", tool_call_id="c1"),
        tools=(ToolSpec("calculator", "calculates", {"type": "object"}),),
        temperature=0.5,
        max_output_tokens=77,
        thinking_tokens=2000,
    )
    declared = {"name": "calculator", "description": "calculates", "parametersJsonSchema": {"type": "object"}}
    assert body == {
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "tools": [{"functionDeclarations": [declared]}],
        "generationConfig": {
            "temperature": 0.5,
            "maxOutputTokens": 77,
            "thinkingConfig": {"thinkingBudget": 2000},
        },
        "contents": [
            {"role": "user", "parts": [{"text": "2+2?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "calculator", "args": {"expression": "2+2"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "calculator", "response": {"result": "4"}}}]},
        ],
    }


def test_a_conversation_that_was_cut_begins_with_the_user_all_the_same() -> None:
    body = written(ChatMessage(Role.ASSISTANT, "I was saying"), ChatMessage(Role.USER, "yes?"), tools=(BARE,))
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == {"type": "object"}


async def test_the_signature_of_a_call_goes_back_with_it() -> None:
    async with stand_in() as provider:
        client = GeminiClient(provider.base_url, timeouts=SLOW)
        provider.enqueue(Behaviour(tool_calls=(("calculator", '{"x":1}'), ("now", "{}"))), Behaviour(tokens=1))
        events = await ask(client, request(model="gemini-3-pro"))
        calls = tuple(one.as_call() for one in events if isinstance(one, ToolCallCompleted))
        assert [(call.name, call.arguments) for call in calls] == [("calculator", '{"x":1}'), ("now", "{}")]
        assert len({call.id for call in calls}) == 2
        assert isinstance(events[-1], Finished)
        assert events[-1].reason == "tool_calls"
        await ask(
            client,
            request(
                ChatMessage(Role.USER, "earlier"),
                ChatMessage(Role.ASSISTANT, "", (CALL,)),
                ChatMessage(Role.TOOL, "4", tool_call_id="c1"),
                ChatMessage(Role.ASSISTANT, "", calls),
                *(ChatMessage(Role.TOOL, "2", tool_call_id=call.id) for call in calls),
                model="gemini-3-pro",
            ),
        )
        await client.aclose()
        contents = provider.requests[1].body["contents"]
        foreign, first, second = (part for one in contents if one["role"] == "model" for part in one["parts"])
    assert first["thoughtSignature"] == "c2lnbmVk"
    assert "thoughtSignature" not in second, "of calls side by side only the first is signed"
    assert foreign["thoughtSignature"] == "skip_thought_signature_validator", "a call from elsewhere says so"


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([CONTENTS.part({"text": "x"})], "cut its answer short"),
        ([CONTENTS.part({"text": "x"}, finishReason="SAFETY")], "content filter"),
        ([CONTENTS.part(finishReason="MAX_TOKENS")], "before the first word"),
        ([CONTENTS.part(finishReason="STOP")], "empty answer"),
        ([CONTENTS.part(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="bad call")], "answer: bad call"),
        ([unnamed({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})], "refused the prompt .PROHIBITED"),
        ([unnamed({"error": {"code": 503, "message": "overloaded"}})], "answer: overloaded"),
        ([CONTENTS.part({"functionCall": {"args": {}}})], "without a name"),
        ([b"data: {\n\n"], "no chunk"),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error(chunks: list[bytes], words: str) -> None:
    with pytest.raises(UpstreamFailed, match=words):
        assemble(*chunks)


def test_missing_usage_is_estimated_and_other_candidates_are_not_mixed_in() -> None:
    other = unnamed({"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}}]})
    events = assemble(other, CONTENTS.part({"text": "1234"}, finishReason="MAX_TOKENS"))
    assert events == [TextDelta("1234"), Finished("length", Usage(1, 1), "gemini-2.5-flash", estimated=True)]
