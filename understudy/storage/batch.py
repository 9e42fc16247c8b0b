"""Groups of entries as the JSON arrays that ``journal_write`` takes (see migrations/0008_quotas.sql).

JSON, because msgspec writes a row of it in well under a microsecond, where psycopg's array adaptation takes one for
each value; and PostgreSQL, which then takes them apart, has a core of its own.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from understudy.storage.encoding import encode
from understudy.storage.entries import (
    Audited,
    Entry,
    EventsAppended,
    MessagesAdded,
    Published,
    TurnClosed,
    TurnOpened,
)
from understudy.storage.journal_rows import (
    AuditedRow,
    ChargeRow,
    ClosedRow,
    EventRow,
    FenceRow,
    KeyRow,
    MessageRow,
    OpenedRow,
    PublishedRow,
    QuotaRow,
    SpanRow,
    TouchedRow,
    TraceRow,
    UndoneRow,
)
from understudy.storage.records import AuditEntry, Message, TurnStatus
from understudy.storage.spending import Charge, Reservation, TurnTrace


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
        self.fences: list[FenceRow] = []
        self.keys: list[KeyRow] = []
        self.opened: list[OpenedRow] = []
        self.closed: list[ClosedRow] = []
        self.undone: list[UndoneRow] = []
        self.messages: list[MessageRow] = []
        self.events: list[EventRow] = []
        self.touched: list[TouchedRow] = []
        self.audited: list[AuditedRow] = []
        self.published: list[PublishedRow] = []
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
                    self.fences.append(FenceRow(g, session, epoch))
                    self.events.extend(
                        [EventRow(g, session, x.seq, x.type, x.data, x.created_at, x.turn_id) for x in events]
                    )
                    self.touched.append(TouchedRow(g, session, events[-1].seq))
            case TurnOpened():
                self._open(g, entry)
            case TurnClosed():
                self._close(g, entry)
            case MessagesAdded(epoch, session, messages):
                self.fences.append(FenceRow(g, session, epoch))
                self.touched.append(TouchedRow(g, session))
                for message in messages:
                    self._message(g, message)
            case Audited(line):
                self._order += 1
                self.audited.append(AuditedRow(g, self._order, audit_row(line)))
            case Published(id_, topic, workspace, payload, created_at):
                self.published.append(PublishedRow(g, id_, topic, payload, created_at, workspace))

    def _open(self, g: int, turn: TurnOpened) -> None:
        session, at = turn.session_id, turn.started_at
        self.fences.append(FenceRow(g, session, turn.epoch))
        self._message(g, turn.message)
        self.touched.append(TouchedRow(g, session, None, at))
        if (key := turn.idempotency) is None:
            self.opened.append(OpenedRow(g, turn.turn_id, session, turn.first_seq, at, quotas=_quotas(turn.quotas)))
            return
        self.opened.append(
            OpenedRow(g, turn.turn_id, session, turn.first_seq, at, key.scope, key.key, _quotas(turn.quotas))
        )
        self.keys.append(KeyRow(g, key.scope, key.key, key.request_hash, turn.turn_id, at, at + key.lasts))

    def _close(self, g: int, turn: TurnClosed) -> None:
        session = turn.session_id
        self.fences.append(FenceRow(g, session, turn.epoch))
        self.closed.append(
            ClosedRow(
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
            self.undone.append(UndoneRow(g, turn.turn_id, session, turn.rolled_back))
        if turn.message is not None:
            self._message(g, turn.message, closes=turn.turn_id)
        self.touched.append(TouchedRow(g, session, None, turn.finished_at, turn.usage.total_tokens, turn.turn_id))

    def _message(self, g: int, x: Message, closes: str | None = None) -> None:
        self._order += 1
        calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in x.tool_calls] or None
        self.messages.append(
            MessageRow(
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


def _quotas(quotas: Sequence[Reservation]) -> list[QuotaRow] | None:
    return [QuotaRow(n, x.scope, x.starts, x.amount, x.most, x.money) for n, x in enumerate(quotas)] or None


def _charges(charges: Sequence[Charge]) -> list[ChargeRow] | None:
    return [
        ChargeRow(
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


def _trace(trace: TurnTrace | None, charges: Sequence[Charge]) -> TraceRow | None:
    if trace is None:
        return None
    return TraceRow(
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
        [SpanRow(x.kind, x.offset_ms, x.duration_ms, x.attributes) for x in trace.spans],
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


def _encoded(rows: Sequence[object]) -> bytes | None:
    return encode(rows) if rows else None
