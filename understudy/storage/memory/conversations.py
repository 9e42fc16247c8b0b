"""Sessions, messages, turns and events in memory."""

from collections.abc import Sequence
from datetime import datetime

import attrs

from understudy.storage.errors import Unstorable
from understudy.storage.memory.tables import Tables
from understudy.storage.records import (
    IdempotencyKey,
    Message,
    RunEvent,
    Session,
    SessionKey,
    SessionStatus,
    Turn,
    TurnStatus,
    new_id,
)


class MemorySessions:
    """See `understudy.storage.sessions.SessionRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def open(self, key: SessionKey, now: datetime) -> tuple[Session, bool]:
        """As the real one."""
        self._tables.check()
        if (active := self._active(key)) is not None:
            return active, False
        return self._make(key, now), True

    async def claim(self, session_id: str) -> Session | None:
        """As the real one."""
        self._tables.check()
        if (session := self._tables.sessions.get(session_id)) is None:
            return None
        claimed = self._tables.sessions[session_id] = attrs.evolve(session, epoch=session.epoch + 1)
        return claimed

    async def load(self, session_id: str) -> Session | None:
        """As the real one."""
        self._tables.check()
        return self._tables.sessions.get(session_id)

    async def get(self, session_id: str, *, uid: str) -> Session | None:
        """As the real one."""
        session = await self.load(session_id)
        return session if session is not None and session.key.uid == uid else None

    async def list(
        self,
        uid: str,
        *,
        status: SessionStatus | None = None,
        agent_id: str | None = None,
        surface: str | None = None,
        workspace_id: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> tuple[Sequence[Session], int]:
        """As the real one."""
        self._tables.check()
        found = [
            session
            for session in self._tables.sessions.values()
            if session.key.uid == uid
            and status in (None, session.status)
            and agent_id in (None, session.key.agent_id)
            and surface in (None, session.key.surface)
            and workspace_id in (None, session.key.workspace_id)
        ]
        found.sort(key=lambda session: session.id)
        found.sort(key=lambda session: session.last_active_at, reverse=True)
        return tuple(found[offset : offset + limit]), len(found)

    async def reset(self, session_id: str, now: datetime) -> tuple[Session, Session]:
        """As the real one."""
        self._tables.check()
        if (old := self._tables.sessions.get(session_id)) is None:
            raise LookupError(f"there is no session {session_id}")
        if old.status is SessionStatus.ACTIVE:
            old = attrs.evolve(old, status=SessionStatus.ARCHIVED, archived_at=now)
            self._tables.sessions[session_id] = old
        return old, self._active(old.key) or self._make(old.key, now)

    async def messages(
        self, session_id: str, *, limit: int = 50, before: str | None = None, uid: str | None = None
    ) -> tuple[Message, ...]:
        """As the real one."""
        self._tables.check()
        if uid is not None and await self.get(session_id, uid=uid) is None:
            return ()
        found = sorted(
            (message for message in self._tables.messages.values() if message.session_id == session_id),
            key=lambda message: message.position,
        )
        if before is not None:
            end = next((message.position for message in found if message.id == before), 0)
            found = [message for message in found if message.position < end]
        shown = [message for message in found if message.status != "rolled_back"]
        return tuple(shown[-limit:]) if limit else ()

    async def turn(self, turn_id: str, *, uid: str | None = None) -> Turn | None:
        """As the real one."""
        self._tables.check()
        turn = self._tables.turns.get(turn_id)
        if turn is None or (uid is not None and self._tables.sessions[turn.session_id].key.uid != uid):
            return None
        return self._with_key(turn)

    async def running_turn(self, session_id: str) -> Turn | None:
        """As the real one."""
        self._tables.check()
        running = [
            turn
            for turn in self._tables.turns.values()
            if turn.session_id == session_id and turn.status is TurnStatus.RUNNING
        ]
        first = min(running, key=lambda turn: (turn.first_seq, turn.started_at), default=None)
        return self._with_key(first) if first is not None else None

    async def turn_by_idempotency(self, scope: str, key: str) -> tuple[IdempotencyKey, Turn] | None:
        """As the real one."""
        self._tables.check()
        kept = self._tables.keys.get((scope, key))
        if kept is None or kept.expires_at <= self._tables.now() or kept.answer.turn_id is None:
            return None
        turn = await self.turn(kept.answer.turn_id)
        return (kept.answer.key, turn) if turn is not None else None

    async def sessions_with_running_turns(self) -> tuple[str, ...]:
        """As the real one."""
        self._tables.check()
        running = {turn.session_id for turn in self._tables.turns.values() if turn.status is TurnStatus.RUNNING}
        return tuple(sorted(running))

    async def events(self, session_id: str, after: int, limit: int) -> tuple[RunEvent, ...]:
        """As the real one."""
        self._tables.check()
        log = self._tables.events.get(session_id, {})
        return tuple(log[seq] for seq in sorted(log) if seq > after)[:limit]

    async def event(self, session_id: str, seq: int) -> RunEvent | None:
        """As the real one."""
        self._tables.check()
        return self._tables.events.get(session_id, {}).get(seq)

    async def prune_events(self, before: datetime, *, limit: int = 10_000) -> int:
        """As the real one."""
        busy = await self.sessions_with_running_turns()
        old = [
            (session_id, seq)
            for session_id, log in self._tables.events.items()
            for seq, event in log.items()
            if event.created_at < before and session_id not in busy
        ][:limit]
        for session_id, seq in old:
            del self._tables.events[session_id][seq]
        return len(old)

    def _active(self, key: SessionKey) -> Session | None:
        sessions = self._tables.sessions.values()
        return next((x for x in sessions if x.key == key and x.status is SessionStatus.ACTIVE), None)

    def _make(self, key: SessionKey, now: datetime) -> Session:
        if key.uid not in self._tables.users or key.workspace_id not in self._tables.workspaces:
            raise Unstorable("a session needs a user and a workspace that exist")
        session = Session(new_id("ses"), key, SessionStatus.ACTIVE, now, now)
        self._tables.sessions[session.id] = session
        return session

    def _with_key(self, turn: Turn) -> Turn:
        if turn.idempotency is None:
            return turn
        kept = self._tables.keys.get((turn.idempotency.scope, turn.idempotency.key))
        still = kept is not None and kept.answer.turn_id == turn.id
        return turn if still else attrs.evolve(turn, idempotency=None)
