"""Everything that a provider can do wrong, in each dialect: what its caller is told, and what the breaker makes of it.

The provider misbehaves on a real socket; the client, the gateway and the provider's actor are the real ones.
"""

import math
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.support.provider import Behaviour, StandIn, stand_in
from tests.support.tls import make_certificate, silent_port
from understudy.actors.errors import CircuitOpen, DomainError
from understudy.actors.inference.breaker import BreakerPolicy
from understudy.actors.inference.claude import ClaudeClient
from understudy.actors.inference.errors import ContextTooLong, UpstreamFailed, UpstreamTimedOut
from understudy.actors.inference.gateway import Inference
from understudy.actors.inference.gemini import GeminiClient
from understudy.actors.inference.messages import (
    Admit,
    BreakerState,
    BreakerStatus,
    ChatMessage,
    Finished,
    ModelEvent,
    ModelRequest,
    ProviderState,
    ProviderStatus,
    Settle,
    SettleOutcome,
    TextDelta,
    provider_address,
)
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.provider import ProviderLimits
from understudy.actors.inference.retry import RetryPolicy
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.tree import inference_tree
from understudy.backoff import Backoff
from understudy.runtime import ActorSystem
from understudy.storage.records import Role

CLIENTS: dict[str, type[OpenAIClient] | type[ClaudeClient] | type[GeminiClient]] = {
    "openai": OpenAIClient,
    "claude": ClaudeClient,
    "gemini": GeminiClient,
}
PATIENT = Timeouts(connect=5, first_token=5, idle=5, total=10)
TOO_LONG = {
    "openai": '{"error":{"message":"maximum context length is 8192 tokens","code":"context_length_exceeded"}}',
    "claude": '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8 tokens"}}',
    "gemini": '{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens (8)."}}',
}


@pytest.fixture(params=sorted(CLIENTS))
def dialect(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@attrs.define
class Caller:
    """Asks one provider as a turn does."""

    name: str
    system: ActorSystem
    inference: Inference
    heard: str = ""

    async def chat(self) -> Finished:
        """A whole answer; what was streamed of it is ``heard``, also when it fails."""
        self.heard = ""
        last: ModelEvent | None = None
        request = ModelRequest(self.name, "fake", (ChatMessage(Role.USER, "hi"),))
        async with self.inference.stream(request) as events:
            async for last in events:
                if isinstance(last, TextDelta):
                    self.heard += last.text
        assert isinstance(last, Finished)
        return last

    async def error(self) -> DomainError:
        with pytest.raises(DomainError) as caught:
            await self.chat()
        return caught.value

    async def state(self) -> ProviderState:
        return await self.system.ask(provider_address(self.name), ProviderStatus())

    async def breaker(self) -> BreakerState:
        return await self.system.ask(provider_address(self.name), BreakerStatus())


@asynccontextmanager
async def caller(
    name: str, url: str, limits: ProviderLimits | None = None, attempts: int = 3, timeouts: Timeouts = PATIENT
) -> AsyncIterator[Caller]:
    async with ActorSystem("test") as system:
        await system.spawn(inference_tree((name,), limits))
        client = CLIENTS[name](url, "sk-secret", timeouts=timeouts)
        retry = RetryPolicy(attempts=attempts, backoff=Backoff(base=0.001))
        with trio.fail_after(20):
            yield Caller(name, system, Inference(system, {name: client}, retry=retry, rng=random.Random(7)))
            await client.aclose()


@asynccontextmanager
async def misbehaving(
    name: str, how: Behaviour, limits: ProviderLimits | None = None, attempts: int = 3
) -> AsyncIterator[tuple[Caller, StandIn]]:
    # Short only where it must run out, so that a busy machine is not taken for a silent provider.
    silent = how.stall_head or how.stall_opened or how.first_ms == math.inf
    timeouts = attrs.evolve(PATIENT, first_token=0.15 if silent else 5, idle=0.15 if how.stall_after is not None else 5)
    async with stand_in(how) as provider, caller(name, provider.base_url, limits, attempts, timeouts) as it:
        yield it, provider


@pytest.mark.parametrize(
    ("how", "words", "requests"),
    [
        (Behaviour(status=429), "is rate limiting us (429)", 3),
        (Behaviour(status=429, retry_after="60"), "is rate limiting us (429)", 1),
        (Behaviour(status=500), "answered 500", 3),
        (Behaviour(status=502, content_type="text/html", body="<h1>Bad Gateway</h1>"), "answered 502: <h1>Bad", 3),
        (Behaviour(status=503), "answered 503", 3),
        (Behaviour(status=529), "is overloaded (529)", 3),
        (Behaviour(drop=True), "closed the connection before it answered", 3),
        (Behaviour(stall_head=True), "sent no token within 0.15 s", 1),
        (Behaviour(first_ms=math.inf), "sent no token within 0.15 s", 1),
        (Behaviour(stall_opened=True), "sent no token within 0.15 s", 1),
        (Behaviour(tokens=5, cut_after=0), "cut its answer short", 3),
        (Behaviour(content_type="text/html", body="<h1>Welcome</h1>"), "text/html instead of an event stream", 1),
        (Behaviour(content_type="application/json", body='{"choices": ['), "json instead of an event stream", 1),
        (Behaviour(garbage_after=0), "sent something that is no", 1),
        (Behaviour(truncate_after=0), "sent something that is no", 1),
        (Behaviour(tokens=0), "gave an empty answer", 3),
        (Behaviour(error_after=0), "failed during its answer: the model fell over", 3),
    ],
)
async def test_a_fault_before_the_first_token_is_told_and_counts_against_the_provider(
    dialect: str, how: Behaviour, words: str, requests: int, idle_clock: MockClock
) -> None:
    async with misbehaving(dialect, how) as (it, provider):
        error = await it.error()
        assert error.message.startswith(dialect)
        assert words in error.message
        assert "sk-secret" not in error.message
        assert it.heard == ""
        assert len(provider.requests) == requests
        state, breaker = await it.state(), await it.breaker()
    assert (state.failed, state.succeeded, state.running) == (requests, 0, 0)
    assert (breaker.state, breaker.failures, breaker.last_error) == ("closed", requests, error.message)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (Behaviour(tokens=5, gap_ms=1, cut_after=2), "cut its answer short"),
        (Behaviour(tokens=5, stall_after=2), "fell silent for 0.15 s mid-answer"),
        (Behaviour(tokens=5, gap_ms=1, garbage_after=2), "sent something that is no"),
        (Behaviour(tokens=5, gap_ms=1, truncate_after=2), "sent something that is no"),
        (Behaviour(tokens=5, gap_ms=1, error_after=2), "failed during its answer: the model fell over"),
        (Behaviour(tokens=2, gap_ms=1, reason=None, done=False), "without an end marker"),
        (Behaviour(tokens=2, gap_ms=1, reason="content_filter"), "withheld its answer, or the rest of it"),
    ],
)
async def test_a_fault_in_the_middle_of_an_answer_is_never_a_success_and_never_repeated(
    dialect: str, how: Behaviour, words: str, idle_clock: MockClock
) -> None:
    async with misbehaving(dialect, how) as (it, provider):
        error = await it.error()
        assert words in error.message
        assert it.heard == "tok0 tok1 ", "what had come was delivered"
        assert isinstance(error, UpstreamTimedOut) or (isinstance(error, UpstreamFailed) and not error.retryable)
        assert len(provider.requests) == 1
        state = await it.state()
    assert (state.succeeded, state.running) == (0, 0)


async def test_a_wish_to_be_left_alone_for_a_moment_is_granted(dialect: str, idle_clock: MockClock) -> None:
    async with misbehaving(dialect, Behaviour(tokens=1)) as (it, provider):
        provider.enqueue(Behaviour(status=429, retry_after="0.2"))
        began = trio.current_time()
        await it.chat()
        assert trio.current_time() - began >= 0.2
        assert it.heard == "tok0 "


async def test_a_wish_in_the_body_counts_as_well() -> None:
    said = '{"error":{"code":429,"details":[{"@type":"x/RetryInfo","retryDelay":"34.5s"}]}}'
    async with misbehaving("gemini", Behaviour(status=429, body=said)) as (it, provider):
        assert (await it.error()).retry_after == 34.5
        assert len(provider.requests) == 1


async def test_a_conversation_that_is_too_long_is_told_apart(dialect: str) -> None:
    async with misbehaving(dialect, Behaviour(status=400, body=TOO_LONG[dialect])) as (it, provider):
        error = await it.error()
        assert isinstance(error, ContextTooLong)
        assert "finds the conversation too long" in error.message
        assert len(provider.requests) == 1
        assert ((await it.state()).refused, (await it.breaker()).failures) == (1, 0)


@pytest.mark.parametrize(("status", "body"), [(401, '{"error":"no"}'), (400, '{"error":"API key not valid"}')])
async def test_a_refused_key_is_named_and_is_no_fault_of_the_provider(dialect: str, status: int, body: str) -> None:
    async with misbehaving(dialect, Behaviour(status=status, body=body)) as (it, provider):
        for _ in range(6):
            assert f"refused the API key ({status})" in (await it.error()).message
        assert len(provider.requests) == 6
        assert ((await it.state()).refused, (await it.breaker()).state) == (6, "closed")


async def test_nobody_at_the_address(dialect: str) -> None:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with caller(dialect, f"http://127.0.0.1:{port}/v1") as it:
            error = await it.error()
            assert "cannot be reached: cannot connect to 127.0.0.1" in error.message
            assert "refused" in error.message
            assert (await it.breaker()).failures == 3


async def test_a_connection_that_never_comes_about(dialect: str, idle_clock: MockClock) -> None:
    quick = attrs.evolve(PATIENT, connect=0.1)
    async with silent_port() as port, caller(dialect, f"https://127.0.0.1:{port}/v1", timeouts=quick) as it:
        error = await it.error()
        assert isinstance(error, UpstreamTimedOut)
        assert error.phase == "connect"
        assert "no connection to 127.0.0.1" in error.message
        assert (await it.breaker()).failures == 3


async def test_a_certificate_that_nobody_vouches_for(dialect: str, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path))

    async def serve(raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, context, server_side=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            await trio.aclose_forcefully(raw)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        async with caller(dialect, f"https://localhost:{listener.socket.getsockname()[1]}/v1") as it:
            error = await it.error()
            assert "cannot be reached: TLS handshake with localhost failed" in error.message
            assert "certificate" in error.message
        nursery.cancel_scope.cancel()


async def test_an_answer_as_long_as_it_may_be_is_one_and_says_so(dialect: str) -> None:
    async with misbehaving(dialect, Behaviour(tokens=2, reason="length")) as (it, _):
        assert (await it.chat()).reason == "length"
        assert it.heard == "tok0 tok1 "


async def test_one_that_flaps_is_left_alone_and_closes_only_after_two_good_trials_in_a_row(
    dialect: str, idle_clock: MockClock
) -> None:
    limits = ProviderLimits(breaker=BreakerPolicy(failures=5, window=60, open_for=0.1, successes=2))
    good, bad = Behaviour(tokens=1), Behaviour(status=503)
    async with misbehaving(dialect, good, limits, attempts=1) as (it, provider):
        with capture_logs() as logs:
            for _ in range(5):  # every other call fails: no two failures in a row, five in the window all the same
                provider.enqueue(good, bad)
                await it.chat()
                await it.error()
            opened = await it.breaker()
            assert (opened.state, opened.failures, opened.successes) == ("open", 5, 0)
            assert opened.opened_at is not None
            assert opened.next_attempt_at is not None
            assert isinstance(await it.error(), CircuitOpen)
            assert len(provider.requests) == 10, "left alone means not one request"

            await trio.sleep(0.11)
            assert (await it.breaker()).state == "half-open"
            await it.chat()
            assert (await it.breaker()).successes == 1
            provider.enqueue(bad)
            assert isinstance(await it.error(), UpstreamFailed)
            assert (await it.breaker()).state == "open"

            await trio.sleep(0.11)
            await it.chat()
            await it.chat()
            closed = await it.breaker()
            assert (closed.state, closed.failures, closed.opened_at) == ("closed", 0, None)
    told = [line["event"] for line in logs if line["event"].startswith("circuit")]
    opening, half, closing = "circuit opened", "circuit half-open", "circuit closed"
    assert told == [opening, half, opening, half, closing]


async def test_while_it_is_half_open_one_trial_runs_and_the_others_are_turned_away(
    dialect: str, idle_clock: MockClock
) -> None:
    limits = ProviderLimits(breaker=BreakerPolicy(failures=1, open_for=0.05, successes=1))
    async with misbehaving(dialect, Behaviour(tokens=20, gap_ms=5), limits, attempts=1) as (it, provider):
        provider.enqueue(Behaviour(status=500))
        await it.error()
        await trio.sleep(0.06)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.chat)
            while (await it.state()).running == 0:
                await trio.sleep(0.001)
            other = Caller(dialect, it.system, it.inference)
            for _ in range(3):
                assert isinstance(await other.error(), CircuitOpen)
        assert len(provider.requests) == 2
        while (await it.breaker()).state != "closed":
            await trio.sleep(0.001)


async def test_the_tree_and_the_log_see_the_circuit_half_open_before_anybody_asks(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600), capture_logs() as logs:
        async with ActorSystem("test") as system:
            await system.spawn(inference_tree(("claude",)))
            address = provider_address("claude")
            for number in range(5):
                await system.ask(address, Admit(f"prm_{number}"))
                system.tell(address, Settle(f"prm_{number}", SettleOutcome.FAILED, "claude answered 500"))
            assert (await system.ask(address, BreakerStatus())).state == "open"
            assert shown(system, address) == "circuit open"
            await trio.sleep(61)
            assert shown(system, address) == "circuit half-open"
    assert [line for line in logs if line["event"].startswith("circuit")] == [
        {"event": "circuit opened", "provider": "claude", "failures": 5, "error": "claude answered 500"}
        | {"log_level": "warning"},
        {"event": "circuit half-open", "provider": "claude", "log_level": "info"},
    ]


def shown(system: ActorSystem, address: str) -> str | None:
    node = system.node(address)
    assert node is not None
    return node.status
