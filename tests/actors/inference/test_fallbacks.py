"""Fallbacks and the one retry budget of a turn, over real sockets and real provider actors."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.support.provider import Behaviour, StandIn, stand_in
from understudy.actors.errors import CircuitOpen, DomainError, ProviderFailed, RateLimited
from understudy.actors.inference.breaker import BreakerPolicy
from understudy.actors.inference.claude import ClaudeClient
from understudy.actors.inference.client import ModelClient
from understudy.actors.inference.errors import ContextTooLong, UpstreamFailed, UpstreamTimedOut
from understudy.actors.inference.gateway import Inference
from understudy.actors.inference.messages import (
    ChatMessage,
    Finished,
    ModelEvent,
    ModelRef,
    ModelRequest,
    TextDelta,
    ToolCallCompleted,
)
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.provider import ProviderLimits
from understudy.actors.inference.retry import Again, GiveUp, Next, RetryBudget, RetryPolicy, Step, next_step
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.tree import inference_tree
from understudy.backoff import Backoff
from understudy.runtime import ActorSystem
from understudy.storage.records import Role

QUICK = Timeouts(5, 0.5, 0.3, 10)
REQUEST = ModelRequest("first", "fake", (ChatMessage(Role.USER, "hi"),))


@attrs.define
class Bench:
    """Three providers: two speak OpenAI's form, the third Anthropic's."""

    inference: Inference
    first: StandIn
    second: StandIn
    third: StandIn

    async def chat(self, *fallbacks: str, budget: RetryBudget | None = None) -> list[ModelEvent]:
        refs = tuple(ModelRef(name, f"{name}-model") for name in fallbacks)
        async with self.inference.stream(attrs.evolve(REQUEST, fallbacks=refs), budget) as events:
            return [one async for one in events]

    @property
    def asked(self) -> tuple[int, int, int]:
        """How many requests each has seen."""
        return len(self.first.requests), len(self.second.requests), len(self.third.requests)


@asynccontextmanager
async def bench(limits: ProviderLimits | None = None) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        stand_ins = [
            await stack.enter_async_context(stand_in(Behaviour(text=name))) for name in ("one", "two", "three")
        ]
        system = await stack.enter_async_context(ActorSystem("test"))
        await system.spawn(inference_tree(("first", "second", "third"), limits))
        first, second, third = stand_ins
        clients: dict[str, ModelClient] = {
            "first": OpenAIClient(first.base_url, name="first", timeouts=QUICK),
            "second": OpenAIClient(second.base_url, name="second", timeouts=QUICK),
            "third": ClaudeClient(third.base_url, name="third", timeouts=QUICK),
        }
        inference = Inference(
            system, clients, retry=RetryPolicy(backoff=Backoff(base=0.001), patience=0.1), rng=random.Random(7)
        )
        with trio.fail_after(20):
            try:
                yield Bench(inference, first, second, third)
            finally:
                await inference.aclose()


def answer(events: Sequence[ModelEvent]) -> tuple[str, str | None]:
    """The text, and who gave it."""
    last = events[-1]
    assert isinstance(last, Finished)
    return "".join(one.text for one in events if isinstance(one, TextDelta)), last.provider


@pytest.mark.parametrize(
    ("broken", "attempts"),
    [
        (Behaviour(status=503), 2),
        (Behaviour(status=429), 2),
        (Behaviour(status=429, retry_after="5"), 1),
        (Behaviour(status=401), 1),
        (Behaviour(status=404), 1),
        (Behaviour(content_type="text/html", body="<h1>Welcome</h1>"), 1),
        (Behaviour(stall_head=True), 1),
        (Behaviour(drop=True), 2),
        (Behaviour(tokens=0), 2),
        (Behaviour(tokens=5, cut_after=0), 2),
    ],
)
async def test_a_provider_that_fails_is_replaced_by_the_next(
    broken: Behaviour, attempts: int, idle_clock: MockClock
) -> None:
    async with bench() as it:
        it.first.default = broken
        with capture_logs() as logs:
            assert answer(await it.chat("second")) == ("two", "second")
        assert it.asked == (attempts, 1, 0)
        assert it.second.requests[0].body["model"] == "second-model"
    assert [(line["event"], line["model"], line["to"]) for line in logs if line["event"] == "falling back"] == [
        ("falling back", "first/fake", "second/second-model")
    ]


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Behaviour(status=400, body='{"error":{"message":"no such field"}}'), UpstreamFailed),
        (Behaviour(status=400, body='{"error":{"code":"context_length_exceeded"}}'), ContextTooLong),
        (Behaviour(reason="content_filter"), UpstreamFailed),
    ],
)
async def test_what_is_wrong_with_the_request_is_wrong_everywhere(
    behaviour: Behaviour, error: type[UpstreamFailed], idle_clock: MockClock
) -> None:
    async with bench() as it:
        it.first.default = behaviour
        with pytest.raises(error):
            await it.chat("second")
        assert it.asked == (1, 0, 0)


async def test_a_fallback_may_speak_another_dialect_and_follow_another_fallback(idle_clock: MockClock) -> None:
    async with bench() as it:
        it.first.default = Behaviour(status=500)
        it.second.default = Behaviour(drop=True)
        assert answer(await it.chat("second", "third")) == ("three", "third")
        assert it.asked == (1, 1, 1), "an attempt is kept for each"


async def test_a_provider_that_is_not_configured_is_passed_over(idle_clock: MockClock) -> None:
    async with bench() as it:
        it.first.default = Behaviour(status=500)
        assert answer(await it.chat("acme", "second")) == ("two", "second")


async def test_when_all_fail_the_last_failure_is_told(idle_clock: MockClock) -> None:
    async with bench() as it:
        it.first.default = it.second.default = it.third.default = Behaviour(status=500)
        with pytest.raises(ProviderFailed, match="third answered 500"):
            await it.chat("second", "third")


@pytest.mark.parametrize("broken", [Behaviour(tokens=5, cut_after=1, gap_ms=1), Behaviour(tokens=5, stall_after=1)])
async def test_nobody_else_is_asked_after_the_first_token(broken: Behaviour, idle_clock: MockClock) -> None:
    async with bench() as it:
        it.first.default = broken
        seen: list[ModelEvent] = []

        async def read() -> None:
            async with it.inference.stream(attrs.evolve(REQUEST, fallbacks=(ModelRef("second", "m"),))) as events:
                async for event in events:
                    seen.append(event)

        with pytest.raises(DomainError):
            await read()
        assert seen == [TextDelta("tok0 ")]
        assert it.asked == (1, 0, 0)


async def test_an_open_circuit_is_passed_over_at_once_and_for_nothing(idle_clock: MockClock) -> None:
    async with bench(ProviderLimits(breaker=BreakerPolicy(failures=1))) as it:
        it.first.enqueue(Behaviour(status=500))
        budget = RetryBudget()
        assert answer(await it.chat("second", budget=budget)) == ("two", "second")
        spent, asked = budget.spent, it.asked[0]
        for _ in range(5):
            assert answer(await it.chat("second", budget=budget)) == ("two", "second")
        assert (budget.spent, it.asked[0]) == (spent, asked)
        with pytest.raises(CircuitOpen):
            await it.chat()


async def test_the_retries_of_a_turn_are_counted_over_its_inferences(idle_clock: MockClock) -> None:
    async with bench() as it:
        budget = RetryBudget()
        for _ in range(2):
            it.first.enqueue(Behaviour(status=503), Behaviour(text="fine"))
            assert answer(await it.chat(budget=budget)) == ("fine", "first")
        it.first.enqueue(Behaviour(status=503))
        with pytest.raises(ProviderFailed, match="503"):
            await it.chat(budget=budget)
        assert it.asked == (5, 0, 0)
        it.first.enqueue(Behaviour(status=503))
        assert answer(await it.chat()) == ("one", "first"), "another turn has its own"


async def test_calls_made_by_one_provider_are_understood_by_the_next(idle_clock: MockClock) -> None:
    async with bench() as it:
        it.first.default = Behaviour(status=500)
        it.third.enqueue(Behaviour(tool_calls=(("now", "{}"),)))
        events = await it.chat("third")
        call = next(one.as_call() for one in events if isinstance(one, ToolCallCompleted))
        messages = (
            *REQUEST.messages,
            ChatMessage(Role.ASSISTANT, "", (call,)),
            ChatMessage(Role.TOOL, "12", (), call.id),
        )
        async with it.inference.stream(attrs.evolve(REQUEST, provider="second", messages=messages)) as stream:
            assert answer([one async for one in stream]) == ("two", "second")
        assert it.second.requests[-1].body["messages"][-1]["tool_call_id"] == "toolu_0"


def step_after(error: DomainError, *, attempt: int = 1, left: int = 2, others: int = 0) -> tuple[Step, int]:
    return next_step(error, attempt, left, others, RetryPolicy(), random.Random(3))


def test_pauses_double_with_jitter_and_a_wish_of_the_server_comes_first() -> None:
    busy = UpstreamFailed("busy", status=503, retryable=True)
    pauses = []
    for attempt in (1, 2, 3):
        step, cost = step_after(busy, attempt=attempt)
        assert isinstance(step, Again)
        assert cost == 1
        pauses.append(step.pause)
    for number, pause in enumerate(pauses):
        assert 0.5 * 2**number <= pause <= 2**number
    wished = UpstreamFailed("busy", status=429, retryable=True, retry_after=7.0)
    assert step_after(wished) == (Again(7.0), 1)
    assert step_after(wished, others=1) == (Next(), 1), "nobody waits long who can ask elsewhere"
    assert step_after(UpstreamFailed("busy", status=429, retryable=True, retry_after=60.0)) == (GiveUp(), 0)


def test_a_spent_budget_ends_it_but_not_the_passing_over() -> None:
    assert step_after(UpstreamFailed("x", status=503, retryable=True), left=0, others=1) == (GiveUp(), 0)
    assert step_after(CircuitOpen("x"), left=0, others=1) == (Next(), 0)
    assert step_after(RateLimited("x"), left=0) == (GiveUp(), 0)
    assert step_after(UpstreamTimedOut("x", phase="idle")) == (GiveUp(), 0)
