"""What is told to the metrics, and what they answer.

The kernel's own figures are collected from its telemetry; here is what only the teller knows. Tells are counted in
microseconds and may be lost with the actor: counters start again from zero, as Prometheus expects of a restart.
"""

import attrs

from understudy.runtime import Ask
from understudy.storage.records import TurnStatus as TurnStatus
from understudy.storage.records import Usage as Usage

METRICS = "telemetry/metrics"
"""The address of the metrics actor."""


@attrs.frozen
class TurnBegan:
    """Tell: a turn of this agent runs."""

    agent_id: str


@attrs.frozen
class TurnFinished:
    """Tell: a turn ended. ``seconds`` is from its start; ``model`` is provider/model, None when none was reached."""

    agent_id: str
    status: TurnStatus
    seconds: float
    usage: Usage
    model: str | None = None


@attrs.frozen
class RequestServed:
    """Tell: an HTTP request was answered. ``route`` is the pattern (``/sessions/{id}``), never the path."""

    method: str
    route: str
    status: int
    seconds: float


@attrs.frozen
class DeliveryTried:
    """Tell: one try of a webhook's delivery took so many ``seconds``.

    ``outcome`` is ``delivered``, ``retried`` (it failed and is tried again) or ``given_up`` (it is not).
    """

    outcome: str
    seconds: float


@attrs.frozen
class OpenConnections:
    """Tell: how many WebSockets and event streams are open now."""

    websockets: int
    streams: int


@attrs.frozen
class CountConnections(Ask[OpenConnections]):
    """How many WebSockets and event streams are open. Does not block."""


@attrs.frozen
class CacheUsed:
    """Tell: so many look-ups in the named cache found what they sought, so many did not, since the last tell."""

    cache: str
    hits: int
    misses: int


@attrs.frozen
class MetricsView:
    """The numbers of ``GET /metrics``. ``uptime`` in seconds; sessions and messages are the database's, ≤ 5 s old.

    ``billing_month`` is the month (``2026-11``) that ``billing_total_cost`` (USD) is of: only for the internal key.
    """

    uptime: float
    ws_connections: int
    tools: int
    skills: int
    sessions_active: int
    sessions_total: int
    messages: int
    billing_month: str
    billing_total_cost: float
    cache_hits: int
    cache_misses: int


@attrs.frozen
class Snapshot(Ask[MetricsView]):
    """The node in a few numbers. Never refused: while the database is away it answers with what it last knew.

    Without ``billing`` nobody adds up what was spent, and its figure is 0.
    """

    billing: bool = False


@attrs.frozen
class Exposition(Ask[bytes]):
    """All numbers in Prometheus' text format. With ``openmetrics``, in OpenMetrics'. Does not block."""

    openmetrics: bool = False
