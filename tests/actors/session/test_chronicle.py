"""What a turn's end says of its costs and of how it went."""

from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.actors.session.stage import CHAD, KEY, Line, Stage, say, stage
from understudy.actors.errors import ProviderFailed
from understudy.actors.inference.messages import (
    Finished,
    ModelEvent,
    PromptCache,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
)
from understudy.actors.session.chronicle import MOST_ARGUMENTS, shown
from understudy.actors.session.messages import DIRECTORY, CancelTurn
from understudy.runtime import Lagged
from understudy.storage.records import Usage
from understudy.storage.spending import Charge, Trace, TraceFilter

CLAUDE = attrs.evolve(CHAD, provider="claude", model_id="claude-sonnet-4-5")


async def traced(it: Stage) -> tuple[Trace, list[Charge]]:
    """The one trace there is, with its spans, and the whole bill."""
    (found,), total = await it.store.traces.list(TraceFilter(KEY.workspace_id))
    assert total == 1
    trace = await it.store.traces.get(KEY.workspace_id, found.id)
    assert trace is not None
    return trace, [billed.charge for billed in it.store.tables.bill]


async def test_a_turn_with_a_tool_leaves_a_charge_for_each_inference_and_a_span_for_each_part() -> None:
    async def script(line: Line) -> AsyncIterator[ModelEvent]:
        if line.number:
            yield TextDelta("437")
            yield Finished("stop", Usage(1_000, 10), "claude-sonnet-4-5-20250929", cache=PromptCache(read=800))
            return
        yield ToolCallStarted(0, "tc_1", "calculator")
        yield ToolCallCompleted(0, "tc_1", "calculator", '{"expression": "23*19", "apiKey": "sk-1"}')
        yield Finished("tool_calls", Usage(1_000, 20), "claude-sonnet-4-5")

    with trio.fail_after(30):
        async with stage(script, agent=attrs.evolve(CLAUDE, tools=("calculator",))) as it:
            await it.chat("what is 23*19?")
            trace, (first, second) = await traced(it)
    assert (first.cost, first.tools, second.cost, second.saved) == (3_300, ("calculator",), 990, 2_160)
    assert (trace.cost, trace.unpriced, trace.usage) == (4_290, False, Usage(2_000, 30))
    assert (trace.rounds, trace.tool_calls) == (2, 1)
    kinds = ["resolve_session", "context", "inference", "tool", "context", "inference"]
    assert [span.kind for span in trace.spans] == kinds
    assert all(span.offset_ms >= 0 and span.duration_ms >= 0 for span in trace.spans)
    inference, tool = trace.spans[2].attributes, trace.spans[3].attributes
    assert (inference["provider"], inference["attempts"], inference["costMicros"]) == ("claude", 1, 3_300)
    assert (tool["name"], tool["ok"]) == ("calculator", True)
    assert tool["arguments"] == '{"expression":"23*19","apiKey":"[redacted]"}'


async def test_a_model_without_a_price_is_marked_and_not_free() -> None:
    with trio.fail_after(30):
        async with stage(agent=attrs.evolve(CHAD, provider="custom")) as it:
            await it.chat("hello")
            trace, (charge,) = await traced(it)
    assert (charge.cost, trace.unpriced, trace.cost) == (None, True, 0)


async def test_an_answer_that_is_cut_short_is_billed_as_estimated() -> None:
    async def script(_: Line) -> AsyncIterator[ModelEvent]:
        yield TextDelta("x" * 400)
        await trio.sleep_forever()

    with trio.fail_after(30):
        async with stage(script, agent=CLAUDE) as it:
            turn = await it.start("hello")
            async with it.system.subscribe(f"session/{turn.session_id}", after=turn.after) as events:
                async for item in events:
                    if not isinstance(item, Lagged) and item.event.type == "content":
                        break
            await it.system.ask(DIRECTORY, CancelTurn(KEY.uid, turn.session_id))
            trace, (charge,) = await traced(it)
    assert charge.estimated
    assert charge.usage.completion_tokens == 100
    assert charge.cost is not None
    assert charge.cost > 0
    assert (trace.status.value, trace.spans[-1].attributes["error"]) == ("cancelled", "CANCELLED")


async def test_a_provider_that_never_answered_is_not_paid() -> None:
    async def script(line: Line) -> AsyncIterator[ModelEvent]:
        if line.number == 0:
            raise ProviderFailed("away")
        yield TextDelta("never")

    with trio.fail_after(30):
        async with stage(script, agent=CLAUDE) as it:
            await it.chat("hello")
            trace, charges = await traced(it)
    assert charges == []
    assert (trace.status.value, trace.error_code) == ("failed", "PROVIDER_ERROR")
    assert trace.spans[-1].attributes["error"] == "PROVIDER_ERROR"


async def test_whoever_asked_is_named_in_the_trace_also_of_a_turn_that_had_to_wait() -> None:
    go = trio.Event()

    async def script(_: Line) -> AsyncIterator[ModelEvent]:
        await go.wait()
        async for event in say("hello"):
            yield event

    with trio.fail_after(30):
        async with stage(script) as it, trio.open_nursery() as nursery:
            for number in (1, 2):
                with it.system.context(request_id=f"req-{number}", trace=f"00-{number:032x}-{7:016x}-01"):
                    nursery.start_soon(it.chat, f"question {number}")
                await wait_all_tasks_blocked()
            go.set()
        traces, _ = await it.store.traces.list(TraceFilter(KEY.workspace_id))
    assert {(x.request_id, x.trace_id, x.parent_id) for x in traces} == {
        (f"req-{n}", f"{n:032x}", f"{7:016x}") for n in (1, 2)
    }


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (
            '{"a": {"Authorization": "x", "b": [{"PASSWORD": 1}]}}',
            '{"a":{"Authorization":"[redacted]","b":[{"PASSWORD":"[redacted]"}]}}',
        ),
        ("not json, token=1", "[no JSON]"),
        ("", ""),
    ],
)
def test_arguments_are_shown_without_what_is_named_like_a_secret(arguments: str, seen: str) -> None:
    assert shown(arguments) == seen


def test_long_arguments_are_cut() -> None:
    assert len(shown('{"text": "' + "x" * 10_000 + '"}')) == MOST_ARGUMENTS


def test_arguments_nested_without_end_hide_what_is_inside() -> None:
    # Python 3.13 has room for more of them than 3.11, which does not take them for JSON.
    assert shown('["token=1",' * 5000 + "1" + "]" * 5000).count("token") <= 21
