"""Sessions, messages, turns and events in memory."""

import re
from collections.abc import Sequence
from datetime import datetime

import attrs
import msgspec

from understudy.storage.entries import Published
from understudy.storage.errors import Fenced, StoreConflict, Unstorable
from understudy.storage.finding import LONGEST, marked
from understudy.storage.memory.tables import Tables, cleaned_message
from understudy.storage.records import (
    AuditEntry,
    IdempotencyKey,
    Message,
    MessageHit,
    Role,
    RunEvent,
    Session,
    SessionKey,
    SessionStatus,
    Turn,
    TurnStatus,
    new_id,
)

_WORD = re.compile(r"\w+")


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

    async def claim(self, session_id: str, node: str) -> Session | None:
        """As the real one."""
        self._tables.check()
        if (session := self._tables.sessions.get(session_id)) is None:
            return None
        if session.node is not None and session.node != node:
            if self._tables.lives(session.node) and await self.running_turn(session_id) is not None:
                return session
            self._tables.call(
                msgspec.json.encode({"lost": session_id, "node": session.node, "epoch": session.epoch + 1}).decode()
            )
        claimed = self._tables.sessions[session_id] = attrs.evolve(session, epoch=session.epoch + 1, node=node)
        return claimed

    async def load(self, session_id: str) -> Session | None:
        """As the real one."""
        self._tables.check()
        return self._tables.sessions.get(session_id)

    async def get(self, session_id: str, *, uid: str) -> Session | None:
        """As the real one."""
        session = await self.load(session_id)
        return session if session is not None and session.key.uid == uid and self._belongs(session.key) else None

    def _belongs(self, key: SessionKey) -> bool:
        return (key.workspace_id, key.uid) in self._tables.members

    async def list(
        self,
        uid: str | None,
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
            if (uid is None or (session.key.uid == uid and self._belongs(session.key)))
            and status in (None, session.status)
            and agent_id in (None, session.key.agent_id)
            and surface in (None, session.key.surface)
            and workspace_id in (None, session.key.workspace_id)
        ]
        found.sort(key=lambda session: session.id)
        found.sort(key=lambda session: session.last_active_at, reverse=True)
        return tuple(found[offset : offset + limit]), len(found)

    async def reset(self, session_id: str, now: datetime, *, epoch: int) -> tuple[Session, Session]:
        """As the real one."""
        self._tables.check()
        if (old := self._tables.sessions.get(session_id)) is None:
            raise LookupError(f"there is no session {session_id}")
        if old.status is SessionStatus.ACTIVE:
            if old.epoch != epoch:
                raise Fenced("a newer incarnation owns the session")
            old = attrs.evolve(old, status=SessionStatus.ARCHIVED, archived_at=now)
            self._tables.sessions[session_id] = old
        return old, self._active(old.key) or self._make(old.key, now)

    async def hand_off(
        self, session_id: str, agent_id: str, note: Message, told: Published, audit: AuditEntry, *, epoch: int
    ) -> Session:
        """As the real one."""
        self._tables.check()
        session = self._tables.sessions.get(session_id)
        if session is None or session.epoch != epoch or session.status is not SessionStatus.ACTIVE:
            raise Fenced("a newer incarnation owns the session, or it is archived")
        if note.id in self._tables.messages:
            return session
        key = attrs.evolve(session.key, agent_id=agent_id)
        if self._active(key) not in (None, session):
            raise StoreConflict("conversation")
        position = self._tables.next_position.get(session_id, 1)
        self._tables.next_position[session_id] = position + 1
        self._tables.messages[note.id] = attrs.evolve(cleaned_message(note), position=position)
        moved = self._tables.sessions[session_id] = attrs.evolve(
            session,
            key=key,
            message_count=session.message_count + 1,
            last_active_at=max(session.last_active_at, note.created_at),
        )
        self._tables.append_audit(audit)
        self._tables.publish(told)
        return moved

    async def search_messages(
        self, uid: str, text: str, *, workspace_id: str | None = None, limit: int = 20
    ) -> tuple[MessageHit, ...]:
        """As the real one, but that words have no stems, and nothing in *text* is more than a word."""
        self._tables.check()
        asked = set(_WORD.findall(text.lower()))
        hits = []
        for message in self._tables.messages.values():
            key = self._tables.sessions[message.session_id].key
            said = _WORD.findall(message.content[:LONGEST].lower())
            times = sum(word in asked for word in said)
            if (
                key.uid == uid
                and self._belongs(key)
                and workspace_id in (None, key.workspace_id)
                and message.role in {Role.USER, Role.ASSISTANT}
                and message.status != "rolled_back"
                and asked
                and asked <= set(said)
            ):
                snippet = _WORD.sub(
                    lambda found: f"\ue000{found[0]}\ue001" if found[0].lower() in asked else found[0],
                    message.content[:200],
                )
                hits.append(
                    MessageHit(
                        message.id,
                        message.session_id,
                        key.workspace_id,
                        key.agent_id,
                        message.role,
                        marked(snippet),
                        times / (times + 1),
                        message.created_at,
                    )
                )
        hits.sort(key=lambda hit: (-hit.score, -hit.created_at.timestamp(), hit.message_id))
        return tuple(hits[:limit])

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

    async def turn_messages(self, session_id: str, turn_id: str, *, uid: str) -> tuple[Message, ...]:
        """As the real one."""
        told = await self.messages(session_id, limit=2**31, uid=uid)
        return tuple(message for message in told if message.turn_id == turn_id)

    async def messages_between(self, session_id: str, first: str, last: str, *, uid: str) -> tuple[Message, ...]:
        """As the real one."""
        told = await self.messages(session_id, limit=2**31, uid=uid)
        ids = [message.id for message in told]
        if first not in ids or last not in ids:
            return ()
        return tuple(told[ids.index(first) : ids.index(last) + 1])

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
        turn = await self.turn(kept.answer.turn_id) if kept is not None and kept.answer.turn_id is not None else None
        if kept is None or turn is None:
            return None
        counts = kept.expires_at > self._tables.now() or turn.status is TurnStatus.RUNNING
        return (kept.answer.key, turn) if counts else None

    async def abandoned_sessions(self, own: str | None = None) -> tuple[str, ...]:
        """As the real one."""
        self._tables.check()
        nodes = ((each, self._tables.sessions[each].node) for each in self._busy())
        return tuple(sorted(each for each, node in nodes if node == own or not self._tables.lives(node)))

    def _busy(self) -> set[str]:
        return {turn.session_id for turn in self._tables.turns.values() if turn.status is TurnStatus.RUNNING}

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
        self._tables.check()
        busy = self._busy()
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
