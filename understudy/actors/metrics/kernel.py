"""What the kernel tells of itself, in Prometheus' words."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import attrs
import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from understudy.runtime import ActorSystem, TelemetryEvent, TreeNode

EVENTS: Final = (
    "message",
    "actor.crash",
    "actor.restart",
    "actor.quarantine",
    "supervisor.escalate",
    "loop.held",
)
_BOUNDS: Final = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_WORTH: Final = 100.0
"""A look at the tree is good for so many times as long as it took: looking never costs over 1 % of the loop."""


@attrs.define
class _Latency:
    """A histogram without the registry's locks: this runs for every message of the node."""

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(_BOUNDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        so_far, out = 0, []
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self.counts, strict=True):
            so_far += count
            out.append((bound, float(so_far)))
        return out


@attrs.frozen
class _Sample:
    """The tree at one moment, added up."""

    taken_at: float
    good_for: float
    actors: Counter[tuple[str, str]]
    mailbox: Counter[str]
    deepest: dict[str, int]


class KernelMeter(Collector):
    """Listens to the kernel's telemetry, and looks at its tree when asked for numbers."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._crashes: Counter[str] = Counter()
        self._restarts: Counter[str] = Counter()
        self._quarantines: Counter[str] = Counter()
        self._escalations = 0
        self._held = self._held_seconds = 0.0
        self._latency: dict[str, _Latency] = {}
        self._sample: _Sample | None = None

    def hear(self, event: TelemetryEvent) -> None:
        """Count one event. Called where it happens, so it is quick and never raises."""
        kind = str(event.metadata.get("kind", ""))
        match event.name:
            case "message":
                latency = self._latency.get(kind)
                if latency is None:
                    latency = self._latency[kind] = _Latency()
                latency.observe(event.measurements["waited"] + event.measurements["seconds"])
            case "actor.crash":
                self._crashes[kind] += 1
            case "actor.restart":
                self._restarts[kind] += 1
            case "actor.quarantine":
                self._quarantines[kind] += 1
            case "supervisor.escalate":
                self._escalations += 1
            case "loop.held":
                self._held += 1
                self._held_seconds += event.measurements["seconds"]
            case _:
                pass  # not one of `EVENTS`: somebody else's business

    def collect(self) -> Iterable[Metric]:
        """All families, always, also those that have counted nothing yet."""
        sample = self._look()
        actors = GaugeMetricFamily("understudy_actors", "Actors and supervisors.", labels=("kind", "state"))
        for (kind, state), count in sample.actors.items():
            actors.add_metric((kind, state), count)
        yield actors
        yield _gauges("understudy_mailbox_messages", "Messages waiting.", "kind", sample.mailbox.items())
        yield _gauges("understudy_mailbox_deepest", "Waiting in the fullest mailbox.", "kind", sample.deepest.items())
        yield self._latencies()
        yield _counters("understudy_actor_crashes", "Crashes of actors.", "kind", self._crashes.items())
        yield _counters("understudy_actor_restarts", "Restarts of actors.", "kind", self._restarts.items())
        yield _counters("understudy_actor_quarantines", "Actors left alone.", "kind", self._quarantines.items())
        yield CounterMetricFamily("understudy_escalations", "Supervisors that gave up.", value=self._escalations)
        yield CounterMetricFamily("understudy_loop_held", "Times a handler held the loop.", value=self._held)
        yield CounterMetricFamily(
            "understudy_loop_held_seconds", "Seconds for which handlers held the loop.", value=self._held_seconds
        )
        letters = self._system.dead_letters.counts
        yield _counters("understudy_dead_letters", "Messages that reached nobody.", "reason", letters.items())

    def _latencies(self) -> Metric:
        family = HistogramMetricFamily(
            "understudy_message_seconds", "Seconds from a message's arrival to its handler's end.", labels=("kind",)
        )
        for kind, latency in self._latency.items():
            family.add_metric((kind,), latency.buckets(), latency.total)
        return family

    def _look(self) -> _Sample:
        now = trio.current_time()
        if self._sample is None or now > self._sample.taken_at + self._sample.good_for:
            actors: Counter[tuple[str, str]] = Counter()
            mailbox: Counter[str] = Counter()
            deepest: dict[str, int] = {}
            for node in _walk(self._system.tree()):
                actors[node.kind, node.state] += 1
                if node.strategy is None:
                    mailbox[node.kind] += node.mailbox
                    deepest[node.kind] = max(node.mailbox, deepest.get(node.kind, 0))
            took = trio.current_time() - now
            self._sample = _Sample(now, took * _WORTH, actors, mailbox, deepest)
        return self._sample


def _walk(root: TreeNode) -> Iterator[TreeNode]:
    left = [root]
    while left:
        node = left.pop()
        yield node
        left.extend(node.children)


def _gauges(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values:
        family.add_metric((key,), value)
    return family


def _counters(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for key, value in values:
        family.add_metric((key,), value)
    return family
