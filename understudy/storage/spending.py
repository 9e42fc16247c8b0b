"""What turns cost and how they went, as it is stored: values for the actors, like `understudy.storage.records`.

Money is in micro-dollars (millionths of a US dollar), whole ones.
"""

from collections.abc import Mapping
from datetime import date, datetime

import attrs

from understudy.storage.records import Json, TurnStatus, Usage


@attrs.frozen
class Charge:
    """One inference, as it is billed. ``cost`` None: the model has no price.

    ``tools`` are the tools whose calls it asked for, one name for each call. ``estimated``: the provider did not say
    how many tokens it was, perhaps because the answer was cut short.
    """

    provider: str
    model: str
    usage: Usage
    at: datetime
    cost: int | None
    saved: int = 0
    cached_tokens: int = 0
    tools: tuple[str, ...] = ()
    estimated: bool = False


@attrs.frozen
class Reservation:
    """What a turn may need of an allowance: refused when there would be more than ``most`` used and spoken for.

    ``scope`` names the allowance, ``starts`` is when it began. With ``money`` it is of micro-dollars, else of tokens.
    """

    scope: str
    starts: datetime
    amount: int
    most: int
    money: bool = False


@attrs.frozen
class Span:
    """A part of a turn: its kind, when it began (milliseconds after the turn), how long it took, and what it was of."""

    kind: str
    offset_ms: float
    duration_ms: float
    attributes: Json = attrs.field(factory=dict)


@attrs.frozen
class TurnTrace:
    """What a turn's end says of how it went. ``trace_id`` and ``parent_id`` are W3C's, when the asker sent them."""

    id: str
    spans: tuple[Span, ...] = ()
    request_id: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    rounds: int = 0
    tool_calls: int = 0


@attrs.frozen
class Trace:
    """How one turn went. ``cost`` is of its priced inferences; ``unpriced`` says that there were others."""

    id: str
    turn_id: str
    workspace_id: str
    uid: str
    agent_id: str
    session_id: str
    status: TurnStatus
    started_at: datetime
    finished_at: datetime
    rounds: int
    tool_calls: int
    usage: Usage
    cost: int
    unpriced: bool
    request_id: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    error_code: str | None = None
    spans: tuple[Span, ...] = ()


@attrs.frozen
class TraceFilter:
    """Which traces of a workspace: None does not ask. ``since`` and ``until`` are of the start, both inclusive."""

    workspace_id: str
    uid: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    status: TurnStatus | None = None
    since: datetime | None = None
    until: datetime | None = None


@attrs.frozen
class Spent:
    """What a workspace spent in a stretch of time, by what it was spent on. ``by_tool`` has what it cost to call them.

    ``unpriced`` counts the tokens of models (``provider/model``) that have no price: their cost is in no other figure.
    """

    total: int = 0
    saved: int = 0
    by_agent: Mapping[str, int] = attrs.field(factory=dict)
    by_provider: Mapping[str, int] = attrs.field(factory=dict)
    by_model: Mapping[str, int] = attrs.field(factory=dict)
    by_user: Mapping[str, int] = attrs.field(factory=dict)
    by_tool: Mapping[str, int] = attrs.field(factory=dict)
    by_month: Mapping[date, int] = attrs.field(factory=dict)
    unpriced: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class AgentUse:
    """What an agent used in a workspace since some time. ``unpriced`` tokens are in ``usage`` and in no cost."""

    inferences: int = 0
    usage: Usage = attrs.field(factory=Usage)
    cost: int = 0
    unpriced: int = 0


@attrs.frozen
class DailyCost:
    """What one model of one agent cost on one day (UTC); ``unpriced`` tokens are in no cost."""

    day: date
    workspace_id: str
    agent_id: str
    provider: str
    model: str
    inferences: int
    usage: Usage
    cost: int
    saved: int
    unpriced: int
