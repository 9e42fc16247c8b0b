"""The node in numbers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import attrs
import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.clock import WallClock
from understudy.actors.metrics.actor import metrics_spec
from understudy.actors.metrics.messages import (
    METRICS,
    CacheUsed,
    CountConnections,
    DeliveryTried,
    Exposition,
    MetricsView,
    OpenConnections,
    RequestServed,
    Snapshot,
    TurnBegan,
    TurnFinished,
    TurnStatus,
    Usage,
)
from understudy.runtime import Actor, ActorSystem, Ask, ChildSpec, SupervisorSpec, receive
from understudy.storage.errors import StoreUnavailable

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Counts:
    """A database that counts what it is told to, and how often it is asked."""

    def __init__(self) -> None:
        self.numbers = (2, 5, 40)
        self.asked = 0
        self.away = False
        self.spent = 2_310_000
        self.late = (3, 12.5)
        self.billed_since: datetime | None = None

    async def totals(self) -> tuple[int, int, int]:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if self.away:
            raise StoreUnavailable
        return self.numbers

    async def late_deliveries(self, now: datetime) -> tuple[int, float]:
        await trio.lowlevel.checkpoint()
        return self.late

    async def billed(self, since: datetime) -> int:
        await trio.lowlevel.checkpoint()
        self.billed_since = since
        if self.away:
            raise StoreUnavailable
        return self.spent


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def system(counts: Counts) -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test") as system:
        spec = metrics_spec(counts, now=WallClock())
        await system.spawn(SupervisorSpec("telemetry", children=(spec,)))
        yield system


async def view(system: ActorSystem) -> MetricsView:
    with trio.fail_after(20):
        return await system.ask(METRICS, Snapshot())


async def samples(system: ActorSystem) -> Samples:
    with trio.fail_after(20):
        text = (await system.ask(METRICS, Exposition())).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


async def test_the_view_tells_what_was_told_and_what_the_database_counts(system: ActorSystem) -> None:
    system.tell(METRICS, OpenConnections(websockets=3, streams=7))
    system.tell(METRICS, CacheUsed("tokens", 10, 2))
    system.tell(METRICS, CacheUsed("memberships", 5, 1))
    seen = await view(system)
    assert attrs.evolve(seen, uptime=0.0) == MetricsView(
        uptime=0.0,
        ws_connections=3,
        tools=0,
        skills=0,
        sessions_active=2,
        sessions_total=5,
        messages=40,
        billing_month="2026-03",
        billing_total_cost=0.0,
        cache_hits=15,
        cache_misses=3,
    )
    assert await system.ask(METRICS, CountConnections()) == OpenConnections(3, 7)


async def test_turns_requests_and_tokens_are_counted(system: ActorSystem) -> None:
    for status in (TurnStatus.COMPLETED, TurnStatus.COMPLETED, TurnStatus.CANCELLED):
        system.tell(METRICS, TurnBegan("chad"))
        system.tell(METRICS, TurnFinished("chad", status, 1.5, Usage(100, 20), "openai/gpt"))
    system.tell(METRICS, RequestServed("POST", "/agent/chat", 200, 0.02))
    system.tell(METRICS, RequestServed("POST", "/agent/chat", 409, 0.001))
    found = await samples(system)
    assert value(found, "understudy_turns_started_total") == 3
    assert value(found, "understudy_turns_finished_total", status="completed") == 2
    assert value(found, "understudy_turns_finished_total", status="cancelled") == 1
    assert value(found, "understudy_tokens_total", kind="prompt", model="openai/gpt") == 300
    assert value(found, "understudy_turn_seconds_count") == 3
    assert value(found, "understudy_http_requests_total", method="POST", route="/agent/chat", status="409") == 1
    assert value(found, "understudy_http_request_seconds_count", route="/agent/chat") == 2
    assert value(found, "understudy_sessions", status="archived") == 3


async def test_tries_to_deliver_are_counted_and_what_is_late_is_told(system: ActorSystem) -> None:
    for outcome in ("delivered", "retried", "retried", "given_up"):
        system.tell(METRICS, DeliveryTried(outcome, 0.2))
    found = await samples(system)
    assert value(found, "understudy_webhook_tries_total", outcome="delivered") == 1
    assert value(found, "understudy_webhook_tries_total", outcome="retried") == 2
    assert value(found, "understudy_webhook_tries_total", outcome="given_up") == 1
    assert value(found, "understudy_webhook_try_seconds_sum") == pytest.approx(0.8)
    assert value(found, "understudy_webhook_deliveries_due") == 3
    assert value(found, "understudy_webhook_lag_seconds") == 12.5


@attrs.frozen
class Crash(Ask[None]):
    """Crash on this."""


@attrs.frozen
class Word:
    """Something to handle."""


class Fragile(Actor):
    @receive
    def crash(self, message: Crash) -> None:
        raise RuntimeError("as asked")

    @receive
    def word(self, message: Word) -> None:
        return


async def test_the_kernel_s_own_events_are_counted_by_kind(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("fragile", Fragile))
    for _ in range(5):
        ref.tell(Word())
    with pytest.raises(Exception, match="fragile"):
        await ref.ask(Crash())
    system.tell("nobody", Word())
    with trio.fail_after(30):  # until it is back from its crash, however long it was left alone
        while (node := system.node("fragile")) is None or (node.restarts, node.state) != (1, "idle"):
            await trio.sleep(0.001)
    await system.suspend("fragile")
    for _ in range(4):
        ref.tell(Word())
    suspended = ("understudy_actors", (("kind", "fragile"), ("state", "suspended")))
    with trio.fail_after(30):  # a look at the tree is good for a while, and there may have been one just before
        while suspended not in (found := await samples(system)):
            await trio.sleep(0.01)
    assert value(found, "understudy_actor_crashes_total", kind="fragile") == 1
    assert value(found, "understudy_actor_restarts_total", kind="fragile") == 1
    assert value(found, "understudy_dead_letters_total", reason="not_found") == 1
    assert value(found, "understudy_message_seconds_count", kind="fragile") == 5
    assert value(found, "understudy_mailbox_messages", kind="fragile") == 4
    assert value(found, "understudy_actors", kind="fragile", state="suspended") == 1


async def test_the_openmetrics_form_is_one_a_parser_takes(system: ActorSystem) -> None:
    system.tell(METRICS, RequestServed("GET", "/health", 200, 0.001))
    text = (await system.ask(METRICS, Exposition(openmetrics=True))).decode()
    assert text.endswith("# EOF\n")
    families = parse_openmetrics(text)  # type: ignore[no-untyped-call]  # prometheus-client types no parser
    assert {family.name for family in families} > {"understudy_http_requests", "understudy_actors"}


async def test_made_up_routes_do_not_fill_the_memory(system: ActorSystem) -> None:
    for number in range(1000):
        system.tell(METRICS, RequestServed("GET", f"/{number}", 404, 0.001))
    routes = {labels for name, labels in await samples(system) if name == "understudy_http_requests_total"}
    assert len(routes) < 450


async def test_the_database_is_asked_once_in_five_seconds_however_many_look(
    counts: Counts, autojump_clock: MockClock, system: ActorSystem
) -> None:
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(view, system)
        assert counts.asked == 1
        await trio.sleep(6)
        counts.numbers = (3, 6, 50)
        assert (await view(system)).messages == 50


async def test_while_the_database_is_away_the_last_numbers_are_given(
    counts: Counts, autojump_clock: MockClock, system: ActorSystem
) -> None:
    with trio.fail_after(3600):
        await view(system)
        counts.away = True
        await trio.sleep(6)
        assert (await view(system)).messages == 40


async def test_uptime_is_the_node_s_and_outlives_the_actor(autojump_clock: MockClock, system: ActorSystem) -> None:
    with trio.fail_after(3600):
        await trio.sleep(100)
        await system.kill(METRICS)
        assert (await view(system)).uptime >= 100


async def test_after_a_kill_the_kernel_is_listened_to_by_the_new_actor_alone(system: ActorSystem) -> None:
    await system.kill(METRICS)
    ref = await system.spawn(ChildSpec("fragile", Fragile))
    ref.tell(Word())
    await wait_all_tasks_blocked(0.01)
    assert value(await samples(system), "understudy_message_seconds_count", kind="fragile") == 1
    assert system.telemetry.listeners() == ("metrics",)


async def test_two_nodes_in_one_process_do_not_count_for_each_other(system: ActorSystem) -> None:
    system.tell(METRICS, TurnBegan("chad"))
    async with ActorSystem("other") as other:
        await other.spawn(SupervisorSpec("telemetry", children=(metrics_spec(Counts()),)))
        assert value(await samples(other), "understudy_turns_started_total") == 0
    assert value(await samples(system), "understudy_turns_started_total") == 1


async def test_what_was_spent_is_added_up_only_for_whoever_may_know(system: ActorSystem, counts: Counts) -> None:
    assert (await system.ask(METRICS, Snapshot())).billing_total_cost == 0.0
    assert counts.billed_since is None
    billed = await system.ask(METRICS, Snapshot(billing=True))
    assert (billed.billing_month, billed.billing_total_cost) == ("2026-03", 2.31)
    assert counts.billed_since == datetime(2026, 3, 1, tzinfo=UTC)


async def test_what_was_spent_is_what_was_last_known_while_the_database_is_away(counts: Counts) -> None:
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            spec = metrics_spec(counts, now=WallClock())
            await system.spawn(SupervisorSpec("telemetry", children=(spec,)))
            counts.away = True
            assert (await system.ask(METRICS, Snapshot(billing=True))).billing_total_cost == 0.0
            counts.away = False
            assert (await system.ask(METRICS, Snapshot(billing=True))).billing_total_cost == 2.31
