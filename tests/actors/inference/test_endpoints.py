"""Agents whose model is at an address of its own: reached only if allowed, without the node's keys."""

import ipaddress
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.support.provider import Behaviour, StandIn, stand_in
from understudy.actors.errors import CircuitOpen
from understudy.actors.inference.breaker import BreakerPolicy
from understudy.actors.inference.endpoints import Endpoints, complete
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.gateway import Inference
from understudy.actors.inference.messages import (
    Admit,
    BreakerStatus,
    ChatMessage,
    Finished,
    ModelRef,
    ModelRequest,
    Settle,
    SettleOutcome,
    TextDelta,
)
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.provider import ProviderLimits
from understudy.actors.inference.retry import RetryPolicy
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.tree import ENDPOINT_IDLE, inference_tree
from understudy.actors.outbound.guarded import GuardedClient
from understudy.runtime import ActorSystem
from understudy.storage.records import Role

LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"),)
TIMEOUTS = Timeouts(5, 5, 5, 10)
REQUEST = ModelRequest("vllm", "fake", (ChatMessage(Role.USER, "hi"),))


async def pretending(host: str, port: int) -> Sequence[str]:
    """Every name leads to this machine."""
    await trio.lowlevel.checkpoint()
    return ["127.0.0.1"]


@attrs.define
class Bench:
    """The node's own vllm, and another that some agent names."""

    system: ActorSystem
    inference: Inference
    own: StandIn
    other: StandIn

    @property
    def root(self) -> str:
        """What the agent's owner writes."""
        return self.other.base_url.removesuffix("/v1")

    async def chat(self, endpoint: str | None, *, provider: str = "vllm", fallback: bool = False) -> tuple[str, str]:
        """What was said, and by which model."""
        fallbacks = (ModelRef("vllm", "fallback"),) if fallback else ()
        request = attrs.evolve(REQUEST, provider=provider, endpoint=endpoint, fallbacks=fallbacks)
        async with self.inference.stream(request) as stream:
            events = [one async for one in stream]
        assert isinstance(events[-1], Finished)
        return "".join(one.text for one in events if isinstance(one, TextDelta)), f"{events[-1].provider}"


@asynccontextmanager
async def bench(*, allowed: bool = True, limit: int = 64) -> AsyncIterator[Bench]:
    async with (
        stand_in(Behaviour(text="own")) as own,
        stand_in(Behaviour(text="other")) as other,
        ActorSystem("test") as system,
    ):
        limits = ProviderLimits(breaker=BreakerPolicy(failures=2))
        await system.spawn(inference_tree(("vllm",), limits))
        guard = GuardedClient(LOOPBACK if allowed else (), resolver=pretending)
        configured = {"vllm": own.base_url}
        endpoints = Endpoints(guard.addresses, configured=configured, timeouts=TIMEOUTS, limit=limit)
        clients = {"vllm": OpenAIClient(own.base_url, "sk-secret", name="vllm", timeouts=TIMEOUTS)}
        retry = RetryPolicy(attempts=1)
        inference = Inference(system, clients, endpoints=endpoints, retry=retry, rng=random.Random(7))
        with trio.fail_after(20):
            yield Bench(system, inference, own, other)
            await inference.aclose()


async def test_the_endpoint_is_asked_in_the_providers_place_and_without_the_nodes_key() -> None:
    async with bench() as it:
        assert await it.chat(it.root) == ("other", "vllm")
        assert await it.chat(None) == ("own", "vllm")
        assert await it.chat(it.root) == ("other", "vllm")
        assert len(it.other.connections) == 1, "its connection is kept"
        (seen, _), (mine,) = it.other.requests, it.own.requests
    assert seen.target == "/v1/chat/completions"
    assert "authorization" not in seen.headers
    assert mine.headers["authorization"] == "Bearer sk-secret"


async def test_a_provider_that_the_node_has_not_configured_is_reached_through_an_endpoint() -> None:
    async with bench() as it:
        assert await it.chat(it.root, provider="custom") == ("other", "custom")
        assert await it.chat(it.root, provider="claude") == ("other", "claude")
    assert [seen.target for seen in it.other.requests] == ["/v1/chat/completions", "/v1/messages"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "models.example"])
async def test_a_private_address_is_refused_by_any_name_and_nothing_is_sent(host: str) -> None:
    async with bench(allowed=False) as it:
        with pytest.raises(UpstreamFailed, match=r"may not be asked: .* loopback") as caught:
            await it.chat(it.root.replace("127.0.0.1", host))
        assert not caught.value.at_fault
        assert not it.other.connections
        assert await it.chat(None) == ("own", "vllm"), "what the operator configured needs no leave"


async def test_the_operators_own_address_written_as_an_endpoint_is_the_operators_provider() -> None:
    async with bench(allowed=False) as it:
        assert await it.chat(it.own.base_url.removesuffix("/v1") + "/") == ("own", "vllm")
        assert it.own.requests[0].headers["authorization"] == "Bearer sk-secret"


async def test_the_built_in_provider_has_no_endpoint() -> None:
    async with bench() as it:
        with pytest.raises(UpstreamFailed, match="no provider 'builtin' here"):
            await it.chat(it.root, provider="builtin")
        assert not it.other.connections


async def test_a_broken_endpoint_opens_its_own_circuit_and_not_the_providers() -> None:
    async with bench() as it:
        it.other.default = Behaviour(status=500)
        for _ in range(2):
            with pytest.raises(UpstreamFailed, match=r"vllm@127.0.0.1:\d+ answered 500"):
                await it.chat(it.root)
        with pytest.raises(CircuitOpen):
            await it.chat(it.root)
        assert await it.chat(it.root, fallback=True) == ("own", "vllm"), "a fallback is at the provider's own address"
        assert it.own.requests[0].body["model"] == "fallback"
        state = await it.system.ask(f"inference/vllm@127.0.0.1:{it.other.port}", BreakerStatus())
        assert state.state == "open"
        assert (await it.system.ask("inference/vllm", BreakerStatus())).state == "closed"


@pytest.mark.parametrize("endpoint", ["ftp://x/v1", "x", "http://"])
async def test_what_is_no_url_is_refused(endpoint: str) -> None:
    async with bench() as it:
        with pytest.raises(UpstreamFailed, match="cannot be asked: not an http"):
            await it.chat(endpoint)


async def test_only_so_many_clients_are_kept_and_an_evicted_one_finishes_what_it_does(idle_clock: MockClock) -> None:
    async with bench(limit=1) as it:
        it.other.default = Behaviour(tokens=3, gap_ms=20)
        async with trio.open_nursery() as nursery:

            async def slow() -> None:
                assert await it.chat(it.root) == ("tok0 tok1 tok2 ", "vllm")

            nursery.start_soon(slow)
            while not it.other.requests:
                await trio.sleep(0.001)
            assert await it.chat(f"{it.own.base_url}/v1") == ("own", "vllm")
        with trio.fail_after(20):
            await it.other.connections[0].closed.wait()


async def test_the_actor_of_an_endpoint_leaves_when_nobody_asks_and_the_providers_stays(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(86400):
        async with ActorSystem("test") as system:
            await system.spawn(inference_tree(("vllm",)))
            for address in ("inference/vllm", "inference/vllm@models.example"):
                await system.ask(address, Admit("prm_1"))
            await trio.sleep(ENDPOINT_IDLE + 60)
            assert len(system.addresses("inference")) == 2, "a call is running"
            for address in system.addresses("inference"):
                system.tell(address, Settle("prm_1", SettleOutcome.SUCCEEDED))
            await trio.sleep(ENDPOINT_IDLE * 2 + 60)
            assert list(system.addresses("inference")) == ["inference/vllm"]


@pytest.mark.parametrize(
    ("provider", "given", "taken"),
    [
        ("ollama", "http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("ollama", "http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1"),
        ("custom", "https://h/models", "https://h/models/v1"),
        ("gemini", "https://h", "https://h/v1beta"),
        ("gemini", "https://h/v1beta/openai", "https://h/v1beta/openai"),
    ],
)
def test_an_endpoint_is_completed_with_the_version(provider: str, given: str, taken: str) -> None:
    assert complete(provider, given) == taken
