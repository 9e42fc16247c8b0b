"""What the journal can write: one frozen entry for each kind of hot-path change.

A *group* is the tuple of entries one caller hands over together: it is applied whole or not at all. Entries are
idempotent, so that a group whose commit was cut off may be written again. An entry that carries ``epoch`` is applied
only while the session still has that epoch (fencing): otherwise its group fails with `Fenced`.
"""

from datetime import datetime
from typing import TypeAlias

import attrs

from understudy.storage.records import AuditEntry, IdempotencyKey, Message, RunEvent, TurnStatus, Usage
from understudy.storage.spending import Charge, Reservation, TurnTrace


@attrs.frozen
class TurnOpened:
    """A turn begins: its row, the user's message, and the idempotency key it answers (Conflict when taken).

    ``quotas`` are reserved with it, all or none (`QuotaExceeded`), and settled when it is closed.
    """

    epoch: int
    turn_id: str
    session_id: str
    first_seq: int
    started_at: datetime
    message: Message
    idempotency: IdempotencyKey | None = None
    quotas: tuple[Reservation, ...] = ()


@attrs.frozen
class EventsAppended:
    """Events of one session, consecutive in ``seq``; the session's ``last_seq`` rises to the last of them."""

    epoch: int
    session_id: str
    events: tuple[RunEvent, ...]


@attrs.frozen
class MessagesAdded:
    """Messages of the running turn (tool calls and results)."""

    epoch: int
    session_id: str
    messages: tuple[Message, ...]


@attrs.frozen
class TurnClosed:
    """A turn ends, whichever way: its final row, the assistant's message if any, the session's totals.

    A status other than COMPLETED gives the turn's idempotency key back. With ``rolled_back`` the turn's messages are
    marked ``rolled_back``: kept for the record, left out of the history and of what readers are shown. ``charges`` are
    billed and ``trace`` is kept whichever way it ended, once.
    """

    epoch: int
    turn_id: str
    session_id: str
    status: TurnStatus
    finished_at: datetime
    content: str
    message: Message | None = None
    model: str | None = None
    tools_used: tuple[str, ...] = ()
    usage: Usage = attrs.field(factory=Usage)
    error_code: str | None = None
    error_message: str | None = None
    rolled_back: bool = False
    charges: tuple[Charge, ...] = ()
    trace: TurnTrace | None = None


@attrs.frozen
class Audited:
    """A line for the audit log."""

    entry: AuditEntry


@attrs.frozen
class Published:
    """A fact for the outbox, written in the transaction that makes it true; ``id`` makes it idempotent."""

    id: str
    topic: str
    workspace_id: str | None
    payload: bytes
    created_at: datetime


Entry: TypeAlias = TurnOpened | EventsAppended | MessagesAdded | TurnClosed | Audited | Published


@attrs.frozen
class Compaction:
    """``summary`` stands for all messages of the session up to ``last_message_id``; fenced, and harmless to repeat.

    No entry of the journal: see `understudy.storage.compaction`. ``facts`` are told with it. ``charges`` are what the
    summary cost, billed to ``turn_id``; none where the turn that runs bills them with its end. What ``holder`` had
    reserved for them is settled.
    """

    session_id: str
    epoch: int
    turn_id: str
    last_message_id: str
    summary: str
    facts: tuple[Published, ...] = ()
    charges: tuple[Charge, ...] = ()
    holder: str | None = None
