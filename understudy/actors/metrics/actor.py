"""The actor that counts."""

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import ClassVar

import attrs
import trio
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from understudy.actors.clock import utc_now
from understudy.actors.costs.prices import in_dollars
from understudy.actors.metrics.kernel import EVENTS, KernelMeter
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
)
from understudy.actors.metrics.meters import Meters
from understudy.actors.metrics.ports import Totals
from understudy.actors.serving import Server
from understudy.actors.skills.messages import SKILLS, ListSkills
from understudy.actors.tools.messages import HOST, ListTools
from understudy.runtime import ChildSpec, Deferred, Exit, Overflow, Refusal, RuntimeFault, receive
from understudy.storage.errors import StoreUnavailable

FRESH = 5.0
"""Seconds that what was counted in the database is good for."""
PATIENCE = 1.0
"""Seconds that the database has to count, before the last numbers are given again."""
LISTENER = "metrics"


@attrs.frozen
class Billed:
    """What was last added up of the month that began then, in micro-dollars; ``at`` is on trio's clock."""

    at: float = float("-inf")
    month: datetime | None = None
    micros: int = 0


@attrs.frozen
class Counted:
    """What was last counted elsewhere; ``at`` is on trio's clock."""

    at: float = float("-inf")
    sessions_active: int = 0
    sessions_total: int = 0
    messages: int = 0
    tools: int = 0
    skills: int = 0
    deliveries_due: int = 0
    deliveries_late: float = 0.0


class Metrics(Server):
    """Counts what it is told and what the kernel says; the rest it looks up when it is asked.

    After a crash the counters begin again at zero, as Prometheus expects of a restart; uptime does not.
    """

    # Whoever tells us something must never be held up or failed for it.
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST
    mailbox_limit: ClassVar[int] = 20_000

    def __init__(self, totals: Totals, began: float, now: Callable[[], datetime] = utc_now) -> None:
        self._totals = totals
        self._began = began
        self._now = now
        self._meters = Meters()
        self._counted = Counted()
        self._billed = Billed()
        self._counting = trio.Lock()

    async def started(self) -> None:
        """Listen to the kernel, in place of the incarnation before."""
        meter = KernelMeter(self.system)
        self._meters.collect(meter)
        self._meters.collect(_Node(self))
        self.system.telemetry.attach(LISTENER, meter.hear, EVENTS)

    async def stopping(self, reason: Exit) -> None:
        """Listen no more."""
        self.system.telemetry.detach(LISTENER)

    @receive
    def turn_began(self, message: TurnBegan) -> None:
        """Count it."""
        self._meters.turn_began()

    @receive
    def turn_finished(self, message: TurnFinished) -> None:
        """Count it, and its tokens."""
        self._meters.turn_finished(message)

    @receive
    def request_served(self, message: RequestServed) -> None:
        """Count it."""
        self._meters.served(message)

    @receive
    def delivery_tried(self, message: DeliveryTried) -> None:
        """Count it."""
        self._meters.tried(message)

    @receive
    def cache_used(self, message: CacheUsed) -> None:
        """Count the look-ups."""
        self._meters.looked_up(message)

    @receive
    def open_connections(self, message: OpenConnections) -> None:
        """Note how many there are."""
        self._meters.opened(message)

    @receive
    def count_connections(self, message: CountConnections) -> OpenConnections:
        """How many there were, when last told."""
        return self._meters.connections

    @receive
    def view(self, message: Snapshot) -> Deferred[MetricsView]:
        """The node in a few numbers."""
        return self.answer(message, self._view, message.billing)

    @receive
    def exposition(self, message: Exposition) -> Deferred[bytes]:
        """All numbers, as text."""
        return self.answer(message, self._exposition, message.openmetrics)

    def snapshot(self) -> Mapping[str, object]:
        """What was last counted elsewhere."""
        return {"uptime": self.uptime, **attrs.asdict(self._counted)}

    @property
    def uptime(self) -> float:
        """Seconds since the node was put together."""
        return trio.current_time() - self._began

    @property
    def counted(self) -> Counted:
        """What was last counted elsewhere."""
        return self._counted

    async def _view(self, billing: bool) -> MetricsView:
        counted = await self._count()
        month = self._now().astimezone(UTC)
        spent = await self._spent_in(month) if billing else 0
        return MetricsView(
            uptime=self.uptime,
            ws_connections=self._meters.connections.websockets,
            tools=counted.tools,
            skills=counted.skills,
            sessions_active=counted.sessions_active,
            sessions_total=counted.sessions_total,
            messages=counted.messages,
            billing_month=f"{month:%Y-%m}",
            billing_total_cost=in_dollars(spent),
            cache_hits=self._meters.cache_hits,
            cache_misses=self._meters.cache_misses,
        )

    async def _spent_in(self, month: datetime) -> int:
        """Micro-dollars since the month began; what was last known while the database is away."""
        begin = month.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        async with self._counting:
            known = self._billed
            if known.month != begin or trio.current_time() - known.at > FRESH:
                with trio.move_on_after(PATIENCE), contextlib.suppress(StoreUnavailable):
                    self._billed = Billed(trio.current_time(), begin, await self._totals.billed(begin))
        return self._billed.micros if self._billed.month == begin else 0

    async def _exposition(self, as_openmetrics: bool) -> bytes:
        await self._count()
        return self._meters.exposition(as_openmetrics=as_openmetrics)

    async def _count(self) -> Counted:
        """Look elsewhere, unless somebody just did; however many ask, once."""
        async with self._counting:
            if trio.current_time() - self._counted.at > FRESH:
                self._counted = await self._count_anew(self._counted)
        return self._counted

    async def _count_anew(self, last: Counted) -> Counted:
        active, total, messages = last.sessions_active, last.sessions_total, last.messages
        due, late = last.deliveries_due, last.deliveries_late
        # While the database is away or slow the last numbers are the best there are.
        with trio.move_on_after(PATIENCE), contextlib.suppress(StoreUnavailable):
            active, total, messages = await self._totals.totals()
            due, late = await self._totals.late_deliveries(self._now())
        tools, skills = await self._tools(last.tools), await self._skills(last.skills)
        return Counted(trio.current_time(), active, total, messages, tools, skills, due, late)

    async def _tools(self, last: int) -> int:
        try:
            return len((await self.system.ask(HOST, ListTools(), timeout=PATIENCE)).tools)
        except (RuntimeFault, Refusal):
            return last

    async def _skills(self, last: int) -> int:
        try:
            return len((await self.system.ask(SKILLS, ListSkills(), timeout=PATIENCE)).skills)
        except (RuntimeFault, Refusal):
            return last


class _Node(Collector):
    """The numbers of the JSON view that nothing else exposes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        """Uptime, sessions, messages, tools, deliveries that are due."""
        counted = self._metrics.counted
        sessions = GaugeMetricFamily("understudy_sessions", "Sessions in the database.", labels=("status",))
        sessions.add_metric(("active",), counted.sessions_active)
        sessions.add_metric(("archived",), counted.sessions_total - counted.sessions_active)
        return [
            GaugeMetricFamily("understudy_uptime_seconds", "Seconds since the start.", value=self._metrics.uptime),
            sessions,
            GaugeMetricFamily("understudy_messages", "Messages in the database.", value=counted.messages),
            GaugeMetricFamily("understudy_tools", "Tools that agents can call.", value=counted.tools),
            GaugeMetricFamily(
                "understudy_webhook_deliveries_due",
                "Deliveries to webhooks that are due and that nobody has taken yet.",
                value=counted.deliveries_due,
            ),
            GaugeMetricFamily(
                "understudy_webhook_lag_seconds",
                "Seconds for which the delivery that has waited longest is due.",
                value=counted.deliveries_late,
            ),
        ]


def metrics_spec(totals: Totals, *, began: float | None = None, now: Callable[[], datetime] = utc_now) -> ChildSpec:
    """The child at `METRICS`: to be put under the supervisor whose id is its address' first part.

    *began* (trio's clock) is when the node started; by default now, so it is called inside ``trio.run``.
    """
    start = trio.current_time() if began is None else began
    return ChildSpec(METRICS.rpartition("/")[2], Metrics, args=(totals, start, now))
