"""Groups of entries as the JSON arrays that ``journal_write`` takes (see migrations/0008_quotas.sql).

JSON, because msgspec writes a row of it in well under a microsecond, where psycopg's array adaptation takes one for
each value; and PostgreSQL, which then takes them apart, has a core of its own.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from understudy.storage.entries import (
    Audited,
    Entry,
    EventsAppended,
    MessagesAdded,
    Published,
    TurnClosed,
    TurnOpened,
)
from understudy.storage.records import AuditEntry, Message, TurnStatus
from understudy.storage.spending import Charge, Reservation, TurnTrace


class _Row(msgspec.Struct, omit_defaults=True):
    g: int


class _Fence(_Row):
    s: str
    e: int


class _Key(_Row):
    scope: str
    key: str
    hash: bytes
    t: str
    at: datetime
    until: datetime


class _Quota(msgspec.Struct):
    n: int
    scope: str
    starts: datetime
    amount: int
    most: int
    money: bool


class _Opened(_Row):
    t: str
    s: str
    seq: int
    at: datetime
    scope: str | None = None
    key: str | None = None
    quotas: list[_Quota] | None = None


class _Charge(msgspec.Struct, omit_defaults=True):
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


class _Span(msgspec.Struct):
    kind: str
    at: float
    ms: float
    of: Any


class _Trace(msgspec.Struct):
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
    spans: list[_Span]


class _Closed(_Row):
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
    charges: list[_Charge] | None = None
    trace: _Trace | None = None
    used: int = 0
    cost: int = 0


class _Undone(_Row):
    t: str
    s: str
    messages: bool = False


class _Message(_Row):
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


class _Event(_Row):
    s: str
    q: int
    k: str
    d: Any
    at: datetime
    t: str | None = None


class _Touched(_Row):
    s: str
    seq: int | None = None
    at: datetime | None = None
    tokens: int = 0
    closes: str | None = None


class _Audited(_Row):
    o: int
    a: Any


class _Published(_Row):
    id: str
    topic: str
    payload: bytes
    at: datetime
    ws: str | None = None


_encode = msgspec.json.Encoder().encode
_ESCAPED_NUL = b"\\u0000"


class Batch:
    """The arguments of one ``journal_write``, in the order of its parameters.

    Raises ValueError for a group that opens two turns: it could not be taken back whole when one's key is taken.
    """

    __slots__ = (
        "_order",
        "audited",
        "closed",
        "events",
        "fences",
        "keys",
        "messages",
        "opened",
        "published",
        "touched",
        "undone",
    )

    def __init__(self, groups: Iterable[Sequence[Entry]]) -> None:
        self.fences: list[_Fence] = []
        self.keys: list[_Key] = []
        self.opened: list[_Opened] = []
        self.closed: list[_Closed] = []
        self.undone: list[_Undone] = []
        self.messages: list[_Message] = []
        self.events: list[_Event] = []
        self.touched: list[_Touched] = []
        self.audited: list[_Audited] = []
        self.published: list[_Published] = []
        self._order = 0
        for number, group in enumerate(groups):
            if sum(isinstance(entry, TurnOpened) for entry in group) > 1:
                raise ValueError("a group opens at most one turn")
            for entry in group:
                self._add(number, entry)

    def arguments(self) -> tuple[bytes | None, ...]:
        """Each array encoded, None for an empty one. Text that PostgreSQL cannot hold is replaced by U+FFFD.

        Raises TypeError, ValueError, OverflowError or RecursionError for a value that is no JSON.
        """
        return tuple(
            _encoded(rows)
            for rows in (
                self.fences,
                self.keys,
                self.opened,
                self.closed,
                self.undone,
                self.messages,
                self.events,
                self.touched,
                self.audited,
                self.published,
            )
        )

    def _add(self, g: int, entry: Entry) -> None:
        match entry:
            case EventsAppended(epoch, session, events):
                if events:
                    self.fences.append(_Fence(g, session, epoch))
                    self.events.extend(
                        [_Event(g, session, x.seq, x.type, x.data, x.created_at, x.turn_id) for x in events]
                    )
                    self.touched.append(_Touched(g, session, events[-1].seq))
            case TurnOpened():
                self._open(g, entry)
            case TurnClosed():
                self._close(g, entry)
            case MessagesAdded(epoch, session, messages):
                self.fences.append(_Fence(g, session, epoch))
                self.touched.append(_Touched(g, session))
                for message in messages:
                    self._message(g, message)
            case Audited(line):
                self._order += 1
                self.audited.append(_Audited(g, self._order, audit_row(line)))
            case Published(id_, topic, workspace, payload, created_at):
                self.published.append(_Published(g, id_, topic, payload, created_at, workspace))

    def _open(self, g: int, turn: TurnOpened) -> None:
        session, at = turn.session_id, turn.started_at
        self.fences.append(_Fence(g, session, turn.epoch))
        self._message(g, turn.message)
        self.touched.append(_Touched(g, session, None, at))
        if (key := turn.idempotency) is None:
            self.opened.append(_Opened(g, turn.turn_id, session, turn.first_seq, at, quotas=_quotas(turn.quotas)))
            return
        self.opened.append(
            _Opened(g, turn.turn_id, session, turn.first_seq, at, key.scope, key.key, _quotas(turn.quotas))
        )
        self.keys.append(_Key(g, key.scope, key.key, key.request_hash, turn.turn_id, at, at + key.lasts))

    def _close(self, g: int, turn: TurnClosed) -> None:
        session = turn.session_id
        self.fences.append(_Fence(g, session, turn.epoch))
        self.closed.append(
            _Closed(
                g,
                turn.turn_id,
                session,
                turn.status.value,
                turn.finished_at,
                turn.content,
                turn.tools_used,
                turn.usage.prompt_tokens,
                turn.usage.completion_tokens,
                turn.model,
                turn.error_code,
                turn.error_message,
                _charges(turn.charges),
                _trace(turn.trace, turn.charges),
                sum(x.usage.total_tokens for x in turn.charges),
                sum(x.cost or 0 for x in turn.charges),
            )
        )
        if turn.status is not TurnStatus.COMPLETED or turn.rolled_back:
            self.undone.append(_Undone(g, turn.turn_id, session, turn.rolled_back))
        if turn.message is not None:
            self._message(g, turn.message, closes=turn.turn_id)
        self.touched.append(_Touched(g, session, None, turn.finished_at, turn.usage.total_tokens, turn.turn_id))

    def _message(self, g: int, x: Message, closes: str | None = None) -> None:
        self._order += 1
        calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in x.tool_calls] or None
        self.messages.append(
            _Message(
                g,
                self._order,
                x.id,
                x.session_id,
                x.role.value,
                x.content,
                x.created_at,
                x.status,
                x.turn_id,
                calls,
                x.tool_call_id,
                x.tokens,
                closes,
            )
        )


def _quotas(quotas: Sequence[Reservation]) -> list[_Quota] | None:
    return [_Quota(n, x.scope, x.starts, x.amount, x.most, x.money) for n, x in enumerate(quotas)] or None


def _charges(charges: Sequence[Charge]) -> list[_Charge] | None:
    return [
        _Charge(
            number,
            x.provider,
            x.model,
            x.tools,
            x.usage.prompt_tokens,
            x.usage.completion_tokens,
            x.cost,
            x.at,
            x.cached_tokens,
            x.saved,
            x.estimated,
        )
        for number, x in enumerate(charges)
    ] or None


def _trace(trace: TurnTrace | None, charges: Sequence[Charge]) -> _Trace | None:
    if trace is None:
        return None
    return _Trace(
        trace.id,
        trace.request_id,
        trace.trace_id,
        trace.parent_id,
        trace.rounds,
        trace.tool_calls,
        sum(x.usage.prompt_tokens for x in charges),
        sum(x.usage.completion_tokens for x in charges),
        sum(x.cost or 0 for x in charges),
        any(x.cost is None for x in charges),
        [_Span(x.kind, x.offset_ms, x.duration_ms, x.attributes) for x in trace.spans],
    )


def audit_row(entry: AuditEntry) -> dict[str, Any]:
    """An audit line as the object that ``audit_append`` takes."""
    return {
        "id": entry.id,
        "event": entry.event,
        "severity": entry.severity,
        "uid": entry.uid,
        "workspace_id": entry.workspace_id,
        "agent_id": entry.agent_id,
        "session_id": entry.session_id,
        "request_id": entry.request_id,
        "metadata": entry.metadata,
        "created_at": entry.created_at,
    }


def encode(value: object) -> bytes:
    """*value* as JSON that PostgreSQL takes: without NUL characters and unpaired surrogates, which text cannot hold."""
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        return _encode(_cleaned(msgspec.to_builtins(value, builtin_types=(datetime, bytes))))
    if _ESCAPED_NUL in encoded:
        return _encode(_cleaned(msgspec.to_builtins(value, builtin_types=(datetime, bytes))))
    return encoded


def _encoded(rows: Sequence[object]) -> bytes | None:
    return encode(rows) if rows else None


def clean(text: str) -> str:
    """*text* with U+FFFD for each character that PostgreSQL cannot hold."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {_cleaned(name): _cleaned(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_cleaned(inner) for inner in value]
        case _:
            return value
