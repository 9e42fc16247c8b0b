"""The JSON about the node itself: its health, its figures and what it finds when it looks at itself."""

from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from understudy.http.schemas import SessionCounts, Wire


class Health(Wire, frozen=True):
    """What the node stands on."""

    status: str
    checks: dict[str, str]
    engines: dict[str, str]
    ws_connections: int
    timestamp: datetime


class Readiness(Wire, frozen=True):
    """Whether the node takes requests."""

    ready: bool
    reason: str | UnsetType = UNSET


class Billing(Wire, frozen=True):
    """What was spent this month, in USD. Only for the internal key."""

    month: str
    total_cost: float


class CacheCounts(Wire, frozen=True):
    """How often a cache had what was sought."""

    hits: int
    misses: int


class Metrics(Wire, frozen=True):
    """The node in a few numbers."""

    uptime: float
    ws_connections: int
    tools: int
    skills: int
    sessions: SessionCounts
    messages: int
    cache: CacheCounts
    billing: Billing | UnsetType = UNSET


class Check(Wire, frozen=True):
    """One check of the diagnostics."""

    name: str
    status: str
    message: str
    duration_ms: float
    hint: str | None


class DiagnosticReport(Wire, frozen=True):
    """One run of the diagnostics."""

    id: str
    kind: str
    status: str
    started_at: datetime
    duration_ms: float
    checks: list[Check]
    summary: dict[str, int]


class DiagnosticHistory(Wire, frozen=True):
    """The newest stored runs, newest first."""

    runs: list[dict[str, Any]]


class CircuitBreaker(Wire, frozen=True):
    """Whether a provider is being left alone.

    ``state`` is `closed`, `open`, `half-open` or, when its actor does not answer, `unknown`. ``failures`` are those of
    the last minute or, once it has opened, those that opened it; ``successes`` those in a row since it is half-open.
    """

    provider: str
    state: str
    failures: int
    successes: int
    opened_at: datetime | None
    next_attempt_at: datetime | None
    last_error: str | None


class CircuitBreakerList(Wire, frozen=True):
    """One breaker for each configured provider, by name."""

    breakers: list[CircuitBreaker]


def with_billing(metrics: Metrics, month: str, total_cost: float) -> Metrics:
    """The same numbers, and what was spent."""
    return replace(metrics, billing=Billing(month=month, total_cost=total_cost))
