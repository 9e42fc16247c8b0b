"""The built-in stand-in: honest, deterministic, and a full partner for tools."""

import msgspec
import pytest
import trio
from trio.testing import MockClock

from tests.support.cost import least_seconds
from understudy.actors.inference.errors import UpstreamFailed
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
from understudy.actors.inference.rehearsal import Rehearsal, perform
from understudy.storage.records import Role, ToolCall

TOOLS = tuple(
    ToolSpec(name, "", {}) for name in ("calculator", "datetime_now", "http_get", "memory_write", "memory_search")
)


def request(
    *messages: ChatMessage | str, tools: tuple[ToolSpec, ...] = TOOLS, limit: int | None = None
) -> ModelRequest:
    told = tuple(ChatMessage(Role.USER, one) if isinstance(one, str) else one for one in messages)
    return ModelRequest("builtin", "rehearsal", told, tools, max_output_tokens=limit)


def text_of(events: list[ModelEvent]) -> str:
    return "".join(one.text for one in events if isinstance(one, TextDelta))


def call_in(events: list[ModelEvent]) -> tuple[str, dict[str, str]] | None:
    for one in events:
        if isinstance(one, ToolCallCompleted):
            return one.name, msgspec.json.decode(one.arguments)
    return None


def test_it_says_that_it_is_no_language_model_and_what_it_heard() -> None:
    events = perform(request("hello there"))
    assert "no language model" in text_of(events)
    assert "hello there" in text_of(events)
    assert "message 1 of" in text_of(events)


def test_the_same_conversation_gives_the_same_answer() -> None:
    assert perform(request("hello", "again")) == perform(request("hello", "again"))


def test_it_streams_word_by_word_and_ends_with_usage() -> None:
    events = perform(request("hello there"))
    *words, last = events
    assert all(isinstance(word, TextDelta) and len(word.text.split()) == 1 for word in words)
    assert isinstance(last, Finished)
    assert last.reason == "stop"
    assert last.usage.completion_tokens == -(-len(text_of(events)) // 4)
    assert last.usage.prompt_tokens > 0


@pytest.mark.parametrize(
    ("said", "tool", "arguments"),
    [
        ("what is 17 * 3?", "calculator", {"expression": "17 * 3"}),
        ("(2+3)*4 please", "calculator", {"expression": "(2+3)*4"}),
        ("12.5 times 8", "calculator", {"expression": "12.5 * 8"}),
        ("how much is 10 divided by 4", "calculator", {"expression": "10 / 4"}),
        ("2 ^ 10", "calculator", {"expression": "2 ** 10"}),
        ("What time is it?", "datetime_now", {}),
        ("what is the date in Europe/Berlin", "datetime_now", {"timezone": "Europe/Berlin"}),
        ("Please remember that I like tea.", "memory_write", {"content": "I like tea"}),
        ("don't forget that the bus is late!", "memory_write", {"content": "the bus is late"}),
        ("remember: the dog is Rex and tell me a joke", "memory_write", {"content": "the dog is Rex"}),
        ("what do I like?", "memory_search", {"query": "what do I like?"}),
        ("Hello. Do you remember that I like tea?", "memory_search", {"query": "Do you remember that I like tea?"}),
        ("which is my favourite cup?", "memory_search", {"query": "which is my favourite cup?"}),
        ("read https://example.org/a?b=1+2, please", "http_get", {"url": "https://example.org/a?b=1+2"}),
    ],
)
def test_it_calls_the_tool_that_the_message_asks_for(said: str, tool: str, arguments: dict[str, str]) -> None:
    events = perform(request(said))
    assert call_in(events) == (tool, arguments)
    assert isinstance(events[0], ToolCallStarted)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "tool_calls"


@pytest.mark.parametrize(
    "said",
    [
        "hello",
        "I remember that day",
        "Remember that.",
        "what is your name",
        "call me at 2026-11-21",
        "I have 3 apples",
        "10:30",
        "sometimes",
        "",
        "1/2/2026",
    ],
)
def test_it_leaves_tools_alone_that_nobody_asked_for(said: str) -> None:
    assert call_in(perform(request(said))) is None


def test_a_tool_that_was_not_offered_is_not_called() -> None:
    assert call_in(perform(request("what is 17 * 3?", tools=()))) is None


def test_it_uses_the_result_that_comes_back() -> None:
    asked = ChatMessage(Role.ASSISTANT, "", (ToolCall("c", "calculator", "{}"),))
    answer = text_of(perform(request("what is 17 * 3?", asked, ChatMessage(Role.TOOL, "51", tool_call_id="c"))))
    assert "calculator gave: 51" in answer


def test_several_wishes_take_several_rounds_and_then_it_answers() -> None:
    conversation: list[ChatMessage | str] = ["what is 2+2 and what time is it in UTC? see http://a.example/x"]
    names = []
    while (call := call_in(perform(request(*conversation)))) is not None:
        names.append(call[0])
        call_id = f"c{len(names)}"
        conversation.append(ChatMessage(Role.ASSISTANT, "", (ToolCall(call_id, call[0], "{}"),)))
        conversation.append(ChatMessage(Role.TOOL, f"result {len(names)}", tool_call_id=call_id))
    assert names == ["http_get", "calculator", "datetime_now"]
    answer = text_of(perform(request(*conversation)))
    assert "http_get gave: result 1" in answer
    assert "datetime_now gave: result 3" in answer


def test_results_of_an_earlier_turn_do_not_count_for_this_one() -> None:
    earlier: list[ChatMessage | str] = [
        "1+1",
        ChatMessage(Role.ASSISTANT, "", (ToolCall("c", "calculator", "{}"),)),
        ChatMessage(Role.TOOL, "2", tool_call_id="c"),
        ChatMessage(Role.ASSISTANT, "2"),
    ]
    assert call_in(perform(request(*earlier, "and 3+3?"))) == ("calculator", {"expression": "3+3"})


def test_it_keeps_to_the_token_limit_and_says_so() -> None:
    events = perform(request("hello", limit=5))
    assert len(text_of(events)) <= 20
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "length"


async def test_it_takes_its_time_between_words_and_can_be_cancelled(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        begin = trio.current_time()
        async with Rehearsal(delay=0.5).stream(request("hi")) as events:
            seen = [one async for one in events]
        assert trio.current_time() - begin == pytest.approx(0.5 * len(seen))
        with trio.move_on_after(1.2) as scope:
            async with Rehearsal(delay=0.5).stream(request("hi")) as events:
                seen = []
                async for one in events:
                    seen.append(one)
        assert scope.cancelled_caught
        assert len(seen) == 2


async def test_another_model_than_its_own_is_refused() -> None:
    with pytest.raises(UpstreamFailed, match="one model, 'rehearsal'"):
        async with Rehearsal().stream(ModelRequest("builtin", "gpt", ())):
            pass


@pytest.mark.parametrize("piece", ["1", "1_", "1__", "1.1", "(", " ", "-", "12 * ", "what ", "when am ", "http://"])
def test_nobody_waits_long_for_what_is_asked_at_length(piece: str) -> None:
    asked = request((piece * 50_000)[:50_000])
    assert perform(asked)
    assert least_seconds(lambda: perform(asked)) < 0.2
