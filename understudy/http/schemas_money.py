"""The JSON of `/costs` and `/traces`. Money is in US dollars, to six places."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta

from understudy.http.schemas import Moment, Offset, Wire


class MonthCost(Wire, frozen=True):
    """What one month cost; ``month`` is such as `2026-03`."""

    month: str
    cost: float


class Costs(Wire, frozen=True):
    """What a workspace spent. ``unpriced`` are the tokens of models without a price, which no other figure has."""

    workspace_id: str
    total_cost: float
    by_agent: dict[str, float]
    by_provider: dict[str, float]
    by_month: list[MonthCost]
    unpriced: dict[str, int]


class CostsMeta(Wire, frozen=True):
    """Of which workspace and of which days, both inclusive, UTC."""

    workspace_id: str
    months: int
    start_date: date
    end_date: date
    generated_at: datetime


class CostBreakdown(Wire, frozen=True):
    """What a workspace spent, in every way. ``byTool`` is what it cost to ask for the calls of each tool."""

    meta: CostsMeta
    total_cost: float
    cached_savings: float
    by_agent: dict[str, float]
    by_provider: dict[str, float]
    by_model: dict[str, float]
    by_user: dict[str, float]
    by_tool: dict[str, float]
    unpriced: dict[str, int]


class CostsQuery(Wire, frozen=True):
    """How many months back, the present one among them."""

    months: Annotated[int, Meta(ge=1, le=24)] = 3


class BreakdownQuery(CostsQuery, frozen=True):
    """Which days; dates come before ``months``."""

    start_date: date | None = None
    end_date: date | None = None


class QuotaUnit(StrEnum):
    """What a quota is of."""

    TOKENS = "tokens"
    USD = "usd"


class AgentQuota(Wire, frozen=True):
    """A quota, and how much of it is left until ``renewsAt``. ``reserved`` is what turns under way may need."""

    quota: str
    unit: QuotaUnit
    limit: int | float
    used: int | float
    reserved: int | float
    remaining: int | float
    renews_at: datetime


class AgentUse(Wire, frozen=True):
    """What an agent used since then. ``unpricedTokens`` are of models without a price, and in no cost."""

    since: datetime
    inferences: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    unpriced_tokens: int
    cost_usd: float


class AgentUses(Wire, frozen=True):
    """By the present hour, day and month, UTC."""

    hour: AgentUse
    day: AgentUse
    month: AgentUse


class UsageOfAgent(Wire, frozen=True):
    """What an agent may use in a workspace and what it used there, over all its users."""

    agent_id: str
    workspace_id: str
    quotas: list[AgentQuota]
    usage: AgentUses


class TraceStatus(StrEnum):
    """How a turn ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class TracesQuery(Wire, frozen=True):
    """Which traces. Times are with an offset (`2026-03-02T09:10:00Z`), both inclusive."""

    agent_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    session_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    status: TraceStatus | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    offset: Offset = 0


class TraceUsage(Wire, frozen=True):
    """Tokens of a turn, over all its inferences."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TraceSummary(Wire, frozen=True):
    """How a turn went. ``unpriced``: some of its models have no price, so it cost more than ``costUsd``."""

    id: str
    agent_id: str
    session_id: str
    turn_id: str
    uid: str
    status: TraceStatus
    error_code: str | None
    started_at: datetime
    duration_ms: int
    rounds: int
    tool_call_count: int
    usage: TraceUsage
    cost_usd: float
    unpriced: bool


class Span(Wire, frozen=True):
    """A part of a turn, with attributes by its kind.

    That is `resolve_session`, `memory`, `context`, `compaction`, `inference`, `approval` or `tool`.
    """

    id: str
    kind: str
    offset_ms: float
    duration_ms: float
    attributes: dict[str, Any]


class Trace(TraceSummary, frozen=True):
    """How a turn went, part by part. ``traceId`` and ``parentId`` are of the request's `traceparent`.

    ``truncatedRounds``: the model had to answer though it might have called more tools, since a limit was reached.
    """

    request_id: str | None
    trace_id: str | None
    parent_id: str | None
    truncated_rounds: bool
    spans: list[Span]


class TraceList(Wire, frozen=True):
    """Traces, newest first."""

    traces: list[TraceSummary]
    total: int
    limit: int
    offset: int
