"""The meters: a Prometheus registry of our own, and the numbers that others tell us."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from understudy.actors.metrics.messages import (
    CacheUsed,
    DeliveryTried,
    OpenConnections,
    RequestServed,
    TurnFinished,
)

_REQUEST = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 120)
_TURN = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_DELIVERY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_MOST_ROUTES = 400
"""Routes that get a series of their own; there are fewer, so a client cannot fill the memory with made-up ones."""


class Meters:
    """Everything that is counted here rather than looked up when asked for.

    The registry is this object's own: two nodes in one process, as in tests, do not meet.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "understudy_http_requests", "HTTP requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._request_seconds = Histogram(
            "understudy_http_request_seconds",
            "Seconds to answer.",
            ("route",),
            buckets=_REQUEST,
            registry=self.registry,
        )
        self._turns_started = Counter("understudy_turns_started", "Turns begun.", registry=self.registry)
        self._turns_finished = Counter("understudy_turns_finished", "Turns ended.", ("status",), registry=self.registry)
        self._turn_seconds = Histogram(
            "understudy_turn_seconds", "Seconds from a turn's start to its end.", buckets=_TURN, registry=self.registry
        )
        self._tokens = Counter("understudy_tokens", "Tokens used.", ("kind", "model"), registry=self.registry)
        self._lookups = Counter(
            "understudy_cache_lookups", "Look-ups in a cache.", ("cache", "result"), registry=self.registry
        )
        self._connections = Gauge(
            "understudy_open_connections", "Connections open now.", ("kind",), registry=self.registry
        )
        self._deliveries = Counter(
            "understudy_webhook_tries", "Tries to deliver to a webhook.", ("outcome",), registry=self.registry
        )
        self._delivery_seconds = Histogram(
            "understudy_webhook_try_seconds", "Seconds that one try took.", buckets=_DELIVERY, registry=self.registry
        )
        self._routes: set[str] = set()
        self.connections = OpenConnections(websockets=0, streams=0)
        self.cache_hits = self.cache_misses = 0
        self.opened(self.connections)

    def collect(self, collector: Collector) -> None:
        """Ask *collector* too, each time the numbers are wanted."""
        self.registry.register(collector)

    def served(self, request: RequestServed) -> None:
        """Count a request."""
        route = self._known_route(request.route)
        self._requests.labels(request.method, route, str(request.status)).inc()
        self._request_seconds.labels(route).observe(request.seconds)

    def turn_began(self) -> None:
        """Count a turn that runs."""
        self._turns_started.inc()

    def turn_finished(self, turn: TurnFinished) -> None:
        """Count a turn that ended, and its tokens."""
        self._turns_finished.labels(turn.status.value).inc()
        self._turn_seconds.observe(turn.seconds)
        model = turn.model or "none"
        self._tokens.labels("prompt", model).inc(turn.usage.prompt_tokens)
        self._tokens.labels("completion", model).inc(turn.usage.completion_tokens)

    def tried(self, delivery: DeliveryTried) -> None:
        """Count a try to deliver to a webhook."""
        self._deliveries.labels(delivery.outcome).inc()
        self._delivery_seconds.observe(delivery.seconds)

    def looked_up(self, used: CacheUsed) -> None:
        """Count look-ups in a cache."""
        self.cache_hits += used.hits
        self.cache_misses += used.misses
        self._lookups.labels(used.cache, "hit").inc(used.hits)
        self._lookups.labels(used.cache, "miss").inc(used.misses)

    def opened(self, connections: OpenConnections) -> None:
        """Note how many connections are open."""
        self.connections = connections
        self._connections.labels("websocket").set(connections.websockets)
        self._connections.labels("stream").set(connections.streams)

    def exposition(self, *, as_openmetrics: bool) -> bytes:
        """All numbers as text."""
        return (openmetrics.generate_latest if as_openmetrics else generate_latest)(self.registry)

    def _known_route(self, route: str) -> str:
        if route not in self._routes and len(self._routes) >= _MOST_ROUTES:
            return "other"
        self._routes.add(route)
        return route
