"""The journal in memory."""

from collections.abc import Sequence

import attrs

from understudy.storage.entries import (
    Audited,
    Entry,
    EventsAppended,
    MessagesAdded,
    Published,
    TurnClosed,
    TurnOpened,
)
from understudy.storage.errors import Fenced, QuotaExceeded, StorageError, StoreConflict
from understudy.storage.memory.spending import note_spending, reserve
from understudy.storage.memory.tables import Kept, Tables, cleaned_message
from understudy.storage.records import Message, StoredAnswer, Turn, TurnStatus


class MemoryJournal:
    """See `understudy.storage.journal.Journal`. `write_one` is the `Writer` of tests that need no journal actor."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def write(
        self, groups: Sequence[Sequence[Entry]], *, timeout: float | None = None
    ) -> tuple[StorageError | None, ...]:
        """As the real one."""
        del timeout
        self._tables.check()
        return tuple(self._write_group(group) for group in groups)

    async def write_one(self, *entries: Entry) -> None:
        """Write one group; raises what became of it."""
        (outcome,) = await self.write([entries])
        if outcome is not None:
            raise outcome

    def _write_group(self, group: Sequence[Entry]) -> StorageError | None:
        for entry in group:
            match entry:
                case TurnOpened() | EventsAppended() | MessagesAdded() | TurnClosed():
                    session = self._tables.sessions.get(entry.session_id)
                    if session is None or session.epoch != entry.epoch:
                        return Fenced("a newer incarnation owns the session")
                case _:
                    pass
        for entry in group:
            if isinstance(entry, TurnOpened) and self._is_taken(entry):
                return StoreConflict("idempotency_key")
        for entry in group:
            if isinstance(entry, TurnOpened) and entry.turn_id not in self._tables.turns:
                lacking = reserve(self._tables, entry.turn_id, entry.quotas)
                if lacking is not None:
                    return QuotaExceeded(lacking)
        for entry in group:
            self._apply(entry)
        return None

    def _is_taken(self, entry: TurnOpened) -> bool:
        if (key := entry.idempotency) is None:
            return False
        kept = self._tables.keys.get((key.scope, key.key))
        return kept is not None and kept.expires_at > entry.started_at and kept.answer.turn_id != entry.turn_id

    def _apply(self, entry: Entry) -> None:
        match entry:
            case TurnOpened():
                self._open(entry)
            case EventsAppended(_, session_id, events):
                log = self._tables.events.setdefault(session_id, {})
                for event in events:
                    log.setdefault(event.seq, event)
                session = self._tables.sessions[session_id]
                newest = max([session.last_seq, *(event.seq for event in events)])
                self._tables.sessions[session_id] = attrs.evolve(session, last_seq=newest)
            case MessagesAdded(_, _, messages):
                for message in messages:
                    self._add(message)
            case TurnClosed():
                self._close(entry)
            case Audited(line):
                self._tables.append_audit(line)
            case Published():
                self._tables.publish(entry)

    def _open(self, entry: TurnOpened) -> None:
        if (key := entry.idempotency) is not None:
            answer = StoredAnswer(key, entry.started_at, entry.turn_id)
            self._tables.keys[key.scope, key.key] = Kept(answer, entry.started_at + key.lasts)
        self._tables.turns.setdefault(
            entry.turn_id,
            Turn(
                entry.turn_id,
                entry.session_id,
                TurnStatus.RUNNING,
                entry.first_seq,
                entry.started_at,
                idempotency=entry.idempotency,
            ),
        )
        self._add(entry.message)
        session = self._tables.sessions[entry.session_id]
        active = max(session.last_active_at, entry.started_at)
        self._tables.sessions[session.id] = attrs.evolve(session, last_active_at=active)

    def _close(self, entry: TurnClosed) -> None:
        session = self._tables.sessions[entry.session_id]
        active = max(session.last_active_at, entry.finished_at)
        self._tables.sessions[session.id] = session = attrs.evolve(session, last_active_at=active)
        turn = self._tables.turns.get(entry.turn_id)
        if turn is None or turn.status is not TurnStatus.RUNNING or turn.session_id != entry.session_id:
            return
        self._tables.turns[turn.id] = attrs.evolve(
            turn,
            status=entry.status,
            finished_at=entry.finished_at,
            content=entry.content,
            model=entry.model,
            tools_used=entry.tools_used,
            usage=entry.usage,
            error_code=entry.error_code,
            error_message=entry.error_message,
        )
        note_spending(self._tables, session, turn, entry)
        tokens = session.token_count + entry.usage.total_tokens
        self._tables.sessions[session.id] = attrs.evolve(session, token_count=tokens)
        if entry.message is not None:
            self._add(entry.message)
        if turn.idempotency is not None and (entry.status is not TurnStatus.COMPLETED or entry.rolled_back):
            kept = self._tables.keys.get((turn.idempotency.scope, turn.idempotency.key))
            if kept is not None and kept.answer.turn_id == turn.id:
                del self._tables.keys[turn.idempotency.scope, turn.idempotency.key]
        if entry.rolled_back:
            self._roll_back(turn)

    def _roll_back(self, turn: Turn) -> None:
        for message in list(self._tables.messages.values()):
            if message.turn_id == turn.id and message.status != "rolled_back":
                self._tables.messages[message.id] = attrs.evolve(message, status="rolled_back")
                session = self._tables.sessions[turn.session_id]
                self._tables.sessions[session.id] = attrs.evolve(session, message_count=session.message_count - 1)

    def _add(self, message: Message) -> None:
        if message.id in self._tables.messages:
            return
        session = self._tables.sessions[message.session_id]
        position = self._tables.next_position.get(session.id, 1)
        self._tables.next_position[session.id] = position + 1
        self._tables.messages[message.id] = attrs.evolve(cleaned_message(message), position=position)
        self._tables.sessions[session.id] = attrs.evolve(session, message_count=session.message_count + 1)
