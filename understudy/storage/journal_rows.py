"""The rows that ``journal_write`` takes: fields are named, and left out, as it expects them.

See migrations/0008_quotas.sql.
"""

from datetime import datetime
from typing import Any

import msgspec


class JournalRow(msgspec.Struct, omit_defaults=True):
    """Belongs to the group of this number."""

    g: int


class FenceRow(JournalRow):
    """A session, and the epoch that may write it."""

    s: str
    e: int


class KeyRow(JournalRow):
    """An idempotency key and its turn."""

    scope: str
    key: str
    hash: bytes
    t: str
    at: datetime
    until: datetime


class QuotaRow(msgspec.Struct):
    """What a turn reserves of an allowance."""

    n: int
    scope: str
    starts: datetime
    amount: int
    most: int
    money: bool


class OpenedRow(JournalRow):
    """A turn that begins."""

    t: str
    s: str
    seq: int
    at: datetime
    scope: str | None = None
    key: str | None = None
    quotas: list[QuotaRow] | None = None


class ChargeRow(msgspec.Struct, omit_defaults=True):
    """What one inference cost."""

    n: int
    provider: str
    model: str
    tools: tuple[str, ...]
    pt: int
    ct: int
    cost: int | None
    at: datetime
    cached: int = 0
    saved: int = 0
    estimated: bool = False


class SpanRow(msgspec.Struct):
    """A part of how a turn went."""

    kind: str
    at: float
    ms: float
    of: Any


class TraceRow(msgspec.Struct):
    """How a turn went."""

    id: str
    request: str | None
    trace: str | None
    parent: str | None
    rounds: int
    calls: int
    pt: int
    ct: int
    cost: int
    unpriced: bool
    spans: list[SpanRow]


class ClosedRow(JournalRow):
    """A turn that ends."""

    t: str
    s: str
    status: str
    at: datetime
    content: str
    tools: tuple[str, ...]
    pt: int
    ct: int
    model: str | None = None
    code: str | None = None
    error: str | None = None
    charges: list[ChargeRow] | None = None
    trace: TraceRow | None = None
    used: int = 0
    cost: int = 0


class UndoneRow(JournalRow):
    """A turn whose messages do not stay as they are."""

    t: str
    s: str
    messages: bool = False


class MessageRow(JournalRow):
    """A message, in its order among those of the batch."""

    o: int
    id: str
    s: str
    role: str
    content: str
    at: datetime
    status: str
    t: str | None = None
    calls: Any = None
    call_id: str | None = None
    tokens: int = 0
    closes: str | None = None


class EventRow(JournalRow):
    """An event of a session."""

    s: str
    q: int
    k: str
    d: Any
    at: datetime
    t: str | None = None


class TouchedRow(JournalRow):
    """What changes of a session itself."""

    s: str
    seq: int | None = None
    at: datetime | None = None
    tokens: int = 0
    closes: str | None = None


class AuditedRow(JournalRow):
    """A line of the audit log."""

    o: int
    a: Any


class PublishedRow(JournalRow):
    """A fact for the outbox."""

    id: str
    topic: str
    payload: bytes
    at: datetime
    ws: str | None = None
