"""Chunks of many servers' accents, and what they come to."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from understudy.actors.inference.assembler import ChatAssembler, estimate_prompt
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.messages import (
    ChatMessage,
    Finished,
    ModelEvent,
    ModelRequest,
    PromptCache,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
)
from understudy.storage.records import Role, Usage

REQUEST = ModelRequest("openai", "gpt-x", (ChatMessage(Role.USER, "12345678"),))


def chunk(delta: Any = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}


def assemble(*chunks: Any) -> list[ModelEvent]:
    assembler = ChatAssembler("openai", REQUEST)
    events: list[ModelEvent] = []
    for one in chunks:
        events.extend(assembler.feed(one if isinstance(one, bytes) else msgspec.json.encode(one)))
    events.extend(assembler.finish())
    return events


def finished(events: Iterable[ModelEvent]) -> Finished:
    last = list(events)[-1]
    assert isinstance(last, Finished)
    return last


def call(**fields: Any) -> dict[str, Any]:
    return chunk({"tool_calls": [fields]})


def test_text_usage_and_model_come_through() -> None:
    events = assemble(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Grüße"}),
        chunk({"content": " dir"}, model="gpt-x-2026"),
        chunk({}, "stop"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        b"[DONE]",
    )
    assert events == [TextDelta("Grüße"), TextDelta(" dir"), Finished("stop", Usage(3, 2), "gpt-x-2026")]


def test_missing_usage_is_estimated_and_says_so() -> None:
    assert finished(assemble(chunk({"content": "12345"}, "stop"))) == Finished("stop", Usage(2, 2), "gpt-x", True)


def test_half_a_usage_is_completed_by_the_estimate() -> None:
    last = finished(assemble(chunk({"content": "1"}, "stop", usage={"prompt_tokens": 70, "completion_tokens": None})))
    assert last.usage == Usage(70, 1)
    assert last.estimated


def test_a_finish_reason_alone_is_a_clean_end_and_so_is_done_alone() -> None:
    assert finished(assemble(chunk({"content": "x"}, "length"))).reason == "length"
    assert finished(assemble(chunk({"content": "x"}), b"[DONE]")).reason == "stop"


def test_no_end_marker_is_an_error() -> None:
    with pytest.raises(UpstreamFailed, match="cut its answer short"):
        assemble(chunk({"content": "x"}))
    with pytest.raises(UpstreamFailed, match="cut its answer short"):
        assemble()


def test_interleaved_pieces_of_two_calls_are_kept_apart_by_index() -> None:
    events = assemble(
        call(index=0, id="a", function={"name": "calculator", "arguments": ""}),
        call(index=1, id="b", function={"name": "datetime_now"}),
        call(index=0, function={"arguments": '{"expres'}),
        call(index=1, function={"arguments": "{}"}),
        call(index=0, function={"arguments": 'sion":"1"}'}),
        chunk({}, "tool_calls"),
    )
    assert events[:-1] == [
        ToolCallStarted(0, "a", "calculator"),
        ToolCallStarted(1, "b", "datetime_now"),
        ToolCallCompleted(0, "a", "calculator", '{"expression":"1"}'),
        ToolCallCompleted(1, "b", "datetime_now", "{}"),
    ]
    assert finished(events).reason == "tool_calls"


def test_calls_without_an_index_are_told_apart_by_id_and_may_come_whole() -> None:
    events = assemble(
        call(id="a", function={"name": "f", "arguments": '{"x":1}'}),
        call(id="b", function={"name": "g", "arguments": {"y": 2}}),
        chunk(None, "stop"),
    )
    assert [event for event in events if isinstance(event, ToolCallCompleted)] == [
        ToolCallCompleted(0, "a", "f", '{"x":1}'),
        ToolCallCompleted(1, "b", "g", '{"y":2}'),
    ]
    assert finished(events).reason == "tool_calls", "a server that says stop although calls follow is corrected"


def test_a_call_without_id_or_arguments_gets_both() -> None:
    events = assemble(call(index=0, function={"name": "now"}), chunk({}, "tool_calls"))
    assert events[:2] == [ToolCallStarted(0, "call_0", "now"), ToolCallCompleted(0, "call_0", "now", "{}")]


def test_a_call_that_never_gets_a_name_is_an_error() -> None:
    with pytest.raises(UpstreamFailed, match="without a name"):
        assemble(call(index=0, id="a", function={"arguments": "{}"}), chunk({}, "tool_calls"))


def test_text_may_come_as_parts_or_as_a_refusal_and_null_is_nothing() -> None:
    events = assemble(
        chunk({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "hm"}]}),
        chunk({"content": None, "tool_calls": None}),
        chunk({"refusal": "No."}),
        chunk({"content": ""}, "stop"),
    )
    assert events[:-1] == [TextDelta("hm"), TextDelta("No.")]


def test_other_choices_are_not_mixed_in() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "other"}}]}
    assert assemble(other, chunk({"content": "mine"}, "stop"))[:-1] == [TextDelta("mine")]


@pytest.mark.parametrize(
    "error", [{"message": "overloaded"}, "overloaded", {"error": {"message": "overloaded"}}, [{"detail": "overloaded"}]]
)
def test_an_error_chunk_ends_the_stream_with_the_providers_words(error: object) -> None:
    with pytest.raises(UpstreamFailed, match="failed during its answer: overloaded"):
        assemble(chunk({"content": "x"}), {"error": error})


@pytest.mark.parametrize(
    "junk", [b"<html>", b"{", b'"text"', b'{"choices": 7}', b'{"choices":[{"delta":{"content":"\xff"}}]}']
)
def test_what_is_no_chunk_is_named(junk: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="no chat chunk"):
        assemble(junk)


def test_calls_that_are_all_numbered_zero_are_told_apart_by_id() -> None:
    events = assemble(
        call(index=0, id="a", function={"name": "f", "arguments": '{"x":1}'}),
        call(index=0, id="b", function={"name": "g", "arguments": '{"y"'}),
        call(index=0, id="b", function={"arguments": ":2}"}),
        chunk(None, "tool_calls"),
    )
    assert [event for event in events if isinstance(event, ToolCallCompleted)] == [
        ToolCallCompleted(0, "a", "f", '{"x":1}'),
        ToolCallCompleted(1, "b", "g", '{"y":2}'),
    ]


def test_what_the_cache_saved_is_told_and_groqs_usage_is_found() -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 20}}
    for more in ({"usage": usage}, {"x_groq": {"id": "req_1", "usage": usage}}):
        last = finished(assemble(chunk({"content": "x"}, "stop", **more)))
        assert (last.usage, last.cache, last.estimated) == (Usage(30, 2), PromptCache(read=20), False)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_no_part_of_the_answer(field: str) -> None:
    assembler = ChatAssembler("openai", REQUEST)
    assert assembler.feed(msgspec.json.encode(chunk({field: "hm", "content": None}))) == ()
    assert assembler.thinking


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("stop", "gave an empty answer"),
        ("length", "before the first word"),
        ("content_filter", "withheld its answer"),
        ("error", "failed during its answer"),
    ],
)
def test_an_end_without_an_answer_is_no_success(reason: str, words: str) -> None:
    with pytest.raises(UpstreamFailed, match=words):
        assemble(chunk({"role": "assistant", "content": ""}), chunk({}, reason))


def test_a_call_that_the_token_limit_cut_is_not_made() -> None:
    cut = call(index=0, id="a", function={"name": "f", "arguments": '{"x": "half of'})
    with pytest.raises(UpstreamFailed, match="in the middle of a tool call"):
        assemble(cut, chunk({}, "length"))


def test_the_estimate_counts_calls_and_tools() -> None:
    assert estimate_prompt(REQUEST) == 2
