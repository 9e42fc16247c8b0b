"""What one turn may use, and how it ends when that is used up."""

from collections.abc import AsyncIterator

import attrs
import pytest
import trio

from tests.actors.session.stage import CHAD, say, stage, text, types
from understudy.actors.agents.config import Quotas, TurnBudget
from understudy.actors.costs.prices import PriceBook
from understudy.actors.errors import QuotaExceeded
from understudy.actors.inference.messages import Finished, ModelEvent, ToolCallCompleted, ToolCallStarted
from understudy.storage.records import Role, Usage

PRICES = PriceBook.parse(
    "[test]\nscript = {prompt = 1000000, completion = 10000000}\nscript-1 = {prompt = 0, completion = 0}"
)
"""A micro-dollar for a token of the prompt, and ten for one of the answer."""


async def call(*arguments: str, usage: Usage = Usage(5, 5)) -> AsyncIterator[ModelEvent]:  # noqa: B008  # a constant
    for index, each in enumerate(arguments):
        yield ToolCallStarted(index, f"call_{index}", "echo")
        yield ToolCallCompleted(index, f"call_{index}", "echo", each)
    await trio.lowlevel.checkpoint()
    yield Finished("tool_calls", usage, "script-1")


async def test_calls_beyond_the_cap_are_not_run_and_the_model_must_then_answer() -> None:
    agent = attrs.evolve(CHAD, budget=TurnBudget(max_tool_calls=3))
    answers = {0: ("1", "2"), 1: ("3", "4")}
    async with stage(
        lambda line: call(*answers[line.number]) if line.number < 2 else say("so be it"), agent=agent
    ) as it:
        events = await it.chat("go")
        assert text(events) == "so be it"
        results = [m.content for m in it.models.requests[2].messages if m.role is Role.TOOL]
        assert results[:3] == ["echo 1", "echo 2", "echo 3"]
        assert "no more tool calls" in results[3]
        assert [bool(request.tools) for request in it.models.requests] == [True, True, False]
        assert [e.data["ok"] for e in events if e.type == "tool_result"].count(False) == 1
        (trace,) = it.store.tables.traces.values()
        assert [s.attributes.get("truncatedRounds") for s in trace.spans if s.kind == "inference"] == [None, None, True]
        assert trace.tool_calls == 3


async def test_an_agent_that_may_call_nothing_is_offered_nothing() -> None:
    agent = attrs.evolve(CHAD, budget=TurnBudget(max_tool_calls=0))
    async with stage(agent=agent) as it:
        await it.chat("go")
        assert it.models.requests[0].tools == ()


async def test_an_answer_is_as_long_as_the_tokens_of_the_turn_allow() -> None:
    agent = attrs.evolve(CHAD, budget=TurnBudget(max_tokens=400))
    async with stage(agent=agent) as it:
        events = await it.chat("go")
        assert types(events)[-1] == "done"
        longest = it.models.requests[0].max_output_tokens
        assert longest is not None
        assert 300 < longest < 400


async def test_a_turn_whose_next_question_is_too_much_ends_there_and_keeps_what_it_has() -> None:
    agent = attrs.evolve(CHAD, budget=TurnBudget(max_tokens=400))
    async with stage(
        lambda line: call("1", usage=Usage(300, 50)) if line.number == 0 else say("never"), agent=agent
    ) as it:
        events = await it.chat("go")
        assert (events[-1].type, events[-1].data["code"]) == ("error", "TURN_BUDGET_EXCEEDED")
        assert len(it.models.requests) == 1
        assert sum(m.role is Role.TOOL for m in it.store.tables.messages.values()) == 1


async def test_money_caps_a_turn_before_any_model_is_asked() -> None:
    agent = attrs.evolve(CHAD, budget=TurnBudget(max_cost_micros=2000))
    async with stage(agent=agent, prices=PRICES) as it:
        await it.chat("go")
        longest = it.models.requests[0].max_output_tokens
        assert longest is not None
        assert 150 < longest < 200
        events = await it.chat("x" * 9000)
        assert events[-1].data["code"] == "TURN_BUDGET_EXCEEDED"
        assert len(it.models.requests) == 1


async def test_a_model_without_a_price_is_not_held_back_by_money() -> None:
    agent = attrs.evolve(CHAD, budget=TurnBudget(max_cost_micros=1))
    async with stage(agent=agent) as it:
        assert types(await it.chat("go"))[-1] == "done"


async def test_a_quota_that_refuses_is_told_once_for_its_day() -> None:
    agent = attrs.evolve(CHAD, quotas=Quotas(tokens_per_day=10))
    async with stage(agent=agent) as it:
        for _ in range(2):
            with pytest.raises(QuotaExceeded):
                await it.start("go")
        it.pass_time(days=1)
        with pytest.raises(QuotaExceeded):
            await it.start("go")
        told = [o.item for o in it.store.tables.outbox.values() if o.item.topic == "quota.exceeded"]
        assert len(told) == 2
        assert b'"quota":"tokens-per-day"' in told[0].payload
        assert it.store.tables.messages == {}
