"""The gateway and the provider's actor together, on the real kernel and real sockets."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.support.provider import Behaviour, StandIn, stand_in
from understudy.actors.errors import CircuitOpen, NotFound, ProviderFailed, RateLimited, TimedOut, Unavailable
from understudy.actors.inference.breaker import BreakerPolicy
from understudy.actors.inference.client import ModelClient
from understudy.actors.inference.errors import UpstreamFailed, UpstreamTimedOut
from understudy.actors.inference.gateway import Inference
from understudy.actors.inference.messages import (
    Admit,
    ChatMessage,
    Finished,
    ModelEvent,
    ModelRequest,
    Permit,
    ProviderState,
    ProviderStatus,
    Settle,
    SettleOutcome,
    TextDelta,
    provider_address,
)
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.provider import ProviderLimits
from understudy.actors.inference.rehearsal import Rehearsal
from understudy.actors.inference.retry import RetryPolicy
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.tree import inference_tree, open_clients
from understudy.backoff import Backoff
from understudy.runtime import Actor, ActorSystem, ChildSpec, Restart
from understudy.storage.records import Role

ADDRESS = provider_address("openai")
REQUEST = ModelRequest("openai", "fake", (ChatMessage(Role.USER, "hi"),))
AT_ONCE = RetryPolicy(attempts=3, backoff=Backoff(base=0.001))


class Bench:
    """A system with one provider, and the stand-in behind it."""

    def __init__(self, system: ActorSystem, inference: Inference, provider: StandIn) -> None:
        self.system = system
        self.inference = inference
        self.provider = provider

    async def chat(self, request: ModelRequest = REQUEST) -> list[ModelEvent]:
        async with self.inference.stream(request) as events:
            return [one async for one in events]

    async def state(self) -> ProviderState:
        return await self.system.ask(ADDRESS, ProviderStatus())

    async def settled(self, running: int = 0, waiting: int = 0) -> ProviderState:
        """The state once it has come to these numbers."""
        while True:
            state = await self.state()
            if (state.running, state.waiting) == (running, waiting):
                return state
            await trio.sleep(0.001)


@asynccontextmanager
async def bench(
    default: Behaviour | None = None,
    *,
    limits: ProviderLimits | None = None,
    retry: RetryPolicy = AT_ONCE,
    timeouts: Timeouts | None = None,
    admission_timeout: float = 5.0,
) -> AsyncIterator[Bench]:
    async with stand_in(default) as provider, ActorSystem("test") as system:
        await system.spawn(inference_tree(("openai", "builtin"), limits))
        clients: dict[str, ModelClient] = {
            "openai": OpenAIClient(provider.base_url, timeouts=timeouts or Timeouts(5, 5, 5, 5)),
            "builtin": Rehearsal(delay=0),
        }
        inference = Inference(system, clients, retry=retry, rng=random.Random(7), admission_timeout=admission_timeout)
        with trio.fail_after(20):
            yield Bench(system, inference, provider)
            await inference.aclose()


def text_of(events: list[ModelEvent]) -> str:
    return "".join(one.text for one in events if isinstance(one, TextDelta))


async def test_a_call_is_admitted_streamed_and_settled() -> None:
    async with bench(Behaviour(tokens=2)) as it:
        events = await it.chat()
        assert text_of(events) == "tok0 tok1 "
        assert isinstance(events[-1], Finished)
        state = await it.settled()
    assert (state.admitted, state.succeeded, state.failed, state.circuit) == (1, 1, 0, "closed")
    assert state.mean_seconds > 0


async def test_the_built_in_provider_is_reached_the_same_way() -> None:
    async with bench() as it:
        events = await it.chat(ModelRequest("builtin", "rehearsal", REQUEST.messages))
    assert "no language model" in text_of(events)


async def test_an_unknown_provider_is_named_with_the_known_ones() -> None:
    async with bench() as it:
        with pytest.raises(UpstreamFailed, match="no provider 'acme' here; there are: builtin, openai"):
            await it.chat(ModelRequest("acme", "x", ()))
        with pytest.raises(NotFound):
            await it.system.ask(provider_address("acme"), ProviderStatus())


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_passing_failure_is_tried_again_and_the_caller_never_knows(status: int) -> None:
    async with bench(Behaviour(tokens=1)) as it:
        it.provider.enqueue(Behaviour(status=status), Behaviour(status=status, close=True))
        assert text_of(await it.chat()) == "tok0 "
        state = await it.settled()
    assert len(it.provider.requests) == 3
    assert (state.succeeded, state.failed, state.admitted) == (1, 2, 3)


async def test_it_gives_up_after_three_attempts_with_the_last_failure() -> None:
    async with bench(Behaviour(status=503)) as it:
        with pytest.raises(ProviderFailed, match="answered 503"):
            await it.chat()
        assert len(it.provider.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_wrong_request_is_not_tried_again_and_is_no_fault_of_the_provider(status: int) -> None:
    async with bench(Behaviour(status=status)) as it:
        with pytest.raises(ProviderFailed, match=str(status)):
            await it.chat()
        state = await it.settled()
    assert len(it.provider.requests) == 1
    assert (state.refused, state.failed) == (1, 0)


async def test_nothing_is_tried_again_after_the_first_token() -> None:
    async with bench(Behaviour(tokens=5, cut_after=1)) as it:
        with pytest.raises(ProviderFailed, match="cut its answer short"):
            await it.chat()
        assert len(it.provider.requests) == 1


async def test_a_stream_cut_before_the_first_token_is_tried_again() -> None:
    async with bench(Behaviour(tokens=1)) as it:
        it.provider.enqueue(Behaviour(cut_after=0, gap_ms=1))
        assert text_of(await it.chat()) == "tok0 "


async def test_a_provider_that_wants_a_long_rest_is_not_waited_for() -> None:
    async with bench(Behaviour(status=429, retry_after="120")) as it:
        with pytest.raises(ProviderFailed) as caught:
            await it.chat()
        assert caught.value.retry_after == 120
        assert len(it.provider.requests) == 1


async def test_a_short_rest_is_granted(idle_clock: MockClock) -> None:
    async with bench(Behaviour(tokens=1)) as it:
        it.provider.enqueue(Behaviour(status=429, retry_after="0.2"))
        begin = trio.current_time()
        await it.chat()
        assert trio.current_time() - begin >= 0.2


async def test_no_more_calls_run_than_may_and_the_others_wait_in_order() -> None:
    async with bench(Behaviour(tokens=3, gap_ms=5), limits=ProviderLimits(concurrency=3)) as it:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, it.provider.open_connections())
                await trio.sleep(0.001)

        async with trio.open_nursery() as watchers:
            watchers.start_soon(watch)
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(it.chat)
            watchers.cancel_scope.cancel()
        state = await it.settled()
    assert most <= 3
    assert state.succeeded == 20


async def test_when_too_many_wait_the_next_is_refused_at_once(idle_clock: MockClock) -> None:
    limits = ProviderLimits(concurrency=1, waiting=1)
    async with bench(Behaviour(tokens=5, gap_ms=100), limits=limits) as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.chat)
        await it.settled(running=1)
        nursery.start_soon(it.chat)
        await it.settled(running=1, waiting=1)
        with pytest.raises(RateLimited, match="openai is busy: 1 calls run and 1 wait") as caught:
            await it.chat()
        assert caught.value.retry_after is not None
        assert caught.value.retry_after >= 1
        nursery.cancel_scope.cancel()


async def test_waiting_for_a_slot_ends_at_the_deadline(idle_clock: MockClock) -> None:
    limits = ProviderLimits(concurrency=1)
    async with bench(Behaviour(stall_after=1), limits=limits, admission_timeout=0.05) as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.chat)
            await it.settled(running=1)
            with pytest.raises(TimedOut, match="no free slot"):
                await it.chat()
            await it.settled(running=1, waiting=0)
            nursery.cancel_scope.cancel()
        await it.settled()


async def test_a_cancelled_caller_closes_the_connection_and_gives_its_slot_back() -> None:
    async with bench(Behaviour(tokens=100_000, gap_ms=1), limits=ProviderLimits(concurrency=1)) as it:
        with trio.CancelScope() as scope:
            async with it.inference.stream(REQUEST) as events:
                async for _ in events:
                    scope.cancel()
        left = trio.current_time()
        await it.provider.connections[0].closed.wait()
        assert it.provider.connections[0].sent_after(left) == 0
        state = await it.settled()
    assert (state.abandoned, state.failed) == (1, 0)


async def test_callers_cancelled_at_random_moments_leak_no_slot() -> None:
    rng = random.Random(11)
    async with bench(Behaviour(tokens=5, gap_ms=2), limits=ProviderLimits(concurrency=2)) as it:

        async def impatient(patience: float) -> None:
            with trio.move_on_after(patience):
                await it.chat()

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(impatient, rng.random() * 0.2)
        state = await it.settled()
        assert state.admitted == state.succeeded + state.abandoned
        assert text_of(await it.chat()) != ""


class Talker(Actor):
    """Streams in its linked work, as a session's turn does."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def started(self) -> None:
        self.work(self._talk)

    async def _talk(self) -> None:
        async with self._inference.stream(REQUEST) as events:
            async for _ in events:
                pass


async def test_an_actor_killed_in_the_middle_of_its_stream_leaks_no_slot_and_no_connection() -> None:
    async with bench(Behaviour(tokens=100_000, gap_ms=1), limits=ProviderLimits(concurrency=1)) as it:
        spec = ChildSpec("talker", Talker, args=(it.inference,), restart=Restart.TEMPORARY)
        await it.system.spawn(spec)
        await it.settled(running=1)
        while not (it.provider.connections and it.provider.connections[0].total):
            await trio.sleep(0.001)
        await it.system.kill("talker")
        left = trio.current_time()
        assert (await it.settled()).abandoned == 1
        await it.provider.connections[0].closed.wait()
        assert it.provider.connections[0].sent_after(left) == 0


async def test_a_permit_that_is_never_given_back_runs_out(
    monkeypatch: pytest.MonkeyPatch, idle_clock: MockClock
) -> None:
    monkeypatch.setattr("understudy.actors.inference.provider.Provider.SWEEP", 0.01)
    async with bench(limits=ProviderLimits(concurrency=1)) as it:
        assert await it.system.ask(ADDRESS, Admit("prm_lost", lease=0.05)) == Permit("prm_lost")
        assert await it.system.ask(ADDRESS, Admit("prm_next"), timeout=2) == Permit("prm_next")
        assert (await it.state()).abandoned == 1


async def test_an_unknown_permit_is_ignored() -> None:
    async with bench(limits=ProviderLimits(concurrency=1)) as it:
        await it.system.ensure(ADDRESS)
        it.system.tell(ADDRESS, Settle("prm_unknown", SettleOutcome.FAILED))
        state = await it.state()
    assert (state.running, state.failed) == (0, 0)


async def test_a_killed_provider_actor_starts_from_zero_while_streams_go_on(idle_clock: MockClock) -> None:
    async with bench(Behaviour(tokens=20, gap_ms=5), limits=ProviderLimits(concurrency=1)) as it:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(text_of(await it.chat()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await it.settled(running=1)
            nursery.start_soon(ask)  # waits for the slot, and must survive the kill of whom it waits for
            await it.settled(running=1, waiting=1)
            await it.system.kill(ADDRESS)
        assert len(answers) == 2
        assert answers[0] == answers[1] == "".join(f"tok{number} " for number in range(20))
        state = await it.settled()
    assert state.admitted == 1, "only the second call was admitted by the new incarnation"


async def test_repeated_failures_open_the_circuit_and_the_provider_is_left_alone(idle_clock: MockClock) -> None:
    limits = ProviderLimits(breaker=BreakerPolicy(failures=2, open_for=0.1, successes=1))
    async with bench(Behaviour(tokens=1), limits=limits, retry=RetryPolicy(attempts=1)) as it:
        it.provider.enqueue(Behaviour(status=500), Behaviour(status=500))
        for _ in range(2):
            with pytest.raises(UpstreamFailed):
                await it.chat()
        with pytest.raises(CircuitOpen, match="left alone for now; the last said: openai answered 500") as caught:
            await it.chat()
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 0.1
        assert len(it.provider.requests) == 2
        assert (await it.state()).circuit == "open"
        await trio.sleep(0.11)
        assert text_of(await it.chat()) == "tok0 "
        assert (await it.settled()).circuit == "closed"


async def test_those_who_wait_learn_at_once_that_the_circuit_opened(idle_clock: MockClock) -> None:
    limits = ProviderLimits(concurrency=1, breaker=BreakerPolicy(failures=1))
    async with bench(limits=limits, retry=RetryPolicy(attempts=1)) as it:
        it.provider.enqueue(Behaviour(tokens=5, gap_ms=20, cut_after=2))
        outcomes: list[type[BaseException]] = []

        async def ask() -> None:
            try:
                await it.chat()
            except ProviderFailed as error:
                outcomes.append(type(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await it.settled(running=1)
            nursery.start_soon(ask)
            await it.settled(running=1, waiting=1)
        assert outcomes == [UpstreamFailed, CircuitOpen]


async def test_timeouts_count_as_failures_and_are_not_repeated(idle_clock: MockClock) -> None:
    async with bench(Behaviour(stall_head=True), timeouts=Timeouts(5, 0.05, 5, 5)) as it:
        with pytest.raises(UpstreamTimedOut, match="no token within"):
            await it.chat()
        state = await it.settled()
    assert len(it.provider.requests) == 1
    assert state.failed == 1
    assert state.last_error == "openai sent no token within 0.05 s"


async def test_the_tree_shows_what_a_provider_does(idle_clock: MockClock) -> None:
    async with bench(Behaviour(tokens=50, gap_ms=5)) as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.chat)
        await it.settled(running=1)
        node = it.system.node(ADDRESS)
        assert node is not None
        assert node.status == "calling"
        assert (await it.system.inspect(ADDRESS))["running"] == 1
        nursery.cancel_scope.cancel()


async def test_a_system_that_has_gone_is_unavailable_not_a_crash(idle_clock: MockClock) -> None:
    async with bench(admission_timeout=0.2) as it:
        await it.system.stop()
        with pytest.raises(Unavailable, match="cannot be asked"):
            await it.chat()


def test_clients_are_made_from_settings() -> None:
    class Configured:
        api_key = None

        def __init__(self, base_url: str | None) -> None:
            self.base_url = base_url

    clients = open_clients({"openai": Configured(None), "local": Configured("http://127.0.0.1:9/v1")})
    assert set(clients) == {"builtin", "openai", "local"}
    with pytest.raises(ValueError, match="needs a base URL"):
        open_clients({"acme": Configured(None)})
    with pytest.raises(ValueError, match="taken by the built-in"):
        open_clients({"builtin": Configured("http://x/")})
