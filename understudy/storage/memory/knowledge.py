"""Knowledge without a database."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

import attrs

from understudy.storage.learning import (
    LEAST_STRENGTH,
    LEFT_AFTER_A_DAY,
    MOST_ENTITIES,
    MOST_PROCEDURES,
    MOST_RECENT,
    RECENT,
    STRENGTH_GAINED,
)
from understudy.storage.memory.spending import settle
from understudy.storage.memory.tables import Billed, Tables
from understudy.storage.records import AuditEntry, Json, MemoryEntry, MemoryTier, Profile
from understudy.storage.remembered import Entity, Lesson, Sift
from understudy.storage.spending import Charge


class MemoryKnowledge:
    """See `understudy.storage.knowledge.KnowledgeRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def entities(self, workspace_id: str, uid: str, keys: Sequence[str]) -> Mapping[str, Entity]:
        """As the real one."""
        self._tables.check()
        return {key: entity for key, entity in self._things(workspace_id, uid).items() if key in keys}

    def _learn_daily(
        self, workspace_id: str, uid: str, entries: Sequence[MemoryEntry], sift: Sift, most: int, now: datetime
    ) -> int:
        mine = [
            entry for entry in self._tables.memories.values() if (entry.workspace_id, entry.uid) == (workspace_id, uid)
        ]
        known = [
            entry.content
            for entry in mine
            if entry.tier is MemoryTier.NOTES or (entry.tier is MemoryTier.DAILY and entry.created_at > now - RECENT)
        ][-MOST_RECENT:]
        learned = 0
        for entry in sift(entries, known):
            if sum(other.tier is MemoryTier.DAILY and other.day == entry.day for other in mine) + learned < most:
                self._tables.memories[entry.id] = entry
                learned += 1
        return learned

    async def written_down(self, last: str) -> bool:
        """As the real one."""
        self._tables.check()
        return last in self._tables.flushes

    async def write_down(
        self,
        last: str,
        entries: Sequence[MemoryEntry],
        audit: AuditEntry,
        *,
        sift: Sift,
        most_a_day: int,
        now: datetime,
        charges: Sequence[Charge] = (),
        holder: str | None = None,
    ) -> int | None:
        """As the real one."""
        self._tables.check()
        message = self._tables.messages.get(last)
        if last in self._tables.flushes or message is None:
            return None
        key = self._tables.sessions[message.session_id].key
        if message.turn_id is not None:
            self._tables.bill += [Billed(key.workspace_id, key.uid, key.agent_id, charge) for charge in charges]
        if holder is not None:
            settle(self._tables, holder, charges)
        written = self._learn_daily(str(audit.workspace_id), str(audit.uid), entries, sift, most_a_day, now)
        self._tables.flushes[last] = written
        if written:
            self._tables.append_audit(attrs.evolve(audit, metadata={**audit.metadata, "written": written}))
        return written

    async def learned(self, turn_id: str) -> bool:
        """As the real one."""
        self._tables.check()
        return turn_id in self._tables.extractions

    async def learn(
        self,
        turn_id: str,
        workspace_id: str,
        uid: str,
        lesson: Lesson,
        audit: AuditEntry,
        *,
        sift: Sift,
        merge: Callable[[Json, Json], Json],
        most_a_day: int,
        now: datetime,
        charges: Sequence[Charge] = (),
        holder: str | None = None,
    ) -> int | None:
        """As the real one."""
        self._tables.check()
        if turn_id in self._tables.extractions or turn_id not in self._tables.turns:
            return None
        key = self._tables.sessions[self._tables.turns[turn_id].session_id].key
        self._tables.bill += [Billed(key.workspace_id, key.uid, key.agent_id, charge) for charge in charges]
        if holder is not None:
            settle(self._tables, holder, charges)
        learned = self._learn_daily(workspace_id, uid, lesson.daily, sift, most_a_day, now)
        if lesson.profile:
            profile = self._tables.profiles.get(uid)
            before = profile.content if profile is not None else {}
            after = merge(before, lesson.profile)
            if after != before:
                self._tables.profiles[uid] = Profile(after, now)
                learned += 1
        learned += self._learn_graph(workspace_id, uid, lesson, now) + self._learn_procedures(lesson, now)
        self._tables.extractions[turn_id] = learned
        if learned:
            self._tables.append_audit(attrs.evolve(audit, metadata={**audit.metadata, "learned": learned}))
        return learned

    async def touch(self, workspace_id: str, uid: str, ids: Sequence[str], *, now: datetime) -> None:
        """As the real one."""
        self._tables.check()
        touched = set()
        for id_ in ids:
            entry = self._tables.memories.get(id_)
            mine = entry is not None and (entry.workspace_id, entry.uid) == (workspace_id, uid)
            if entry is not None and mine and entry.tier in {MemoryTier.GRAPH, MemoryTier.PROCEDURAL}:
                self._tables.memories[id_] = _stronger(entry, now)
                touched.add(id_)
        for (source, target, relation), (strength, since) in self._tables.edges.items():
            if source in touched and target in touched:
                self._tables.edges[source, target, relation] = (_grown(strength, since, now), now)

    async def let_go(self, now: datetime) -> tuple[int, int]:
        """As the real one."""
        self._tables.check()
        weak = [
            entry.id
            for entry in self._tables.memories.values()
            if entry.tier is MemoryTier.GRAPH
            and _left(entry.weight, entry.touched_at or entry.created_at, now) < LEAST_STRENGTH
        ]
        lost = [
            key for key, (strength, since) in self._tables.edges.items() if _left(strength, since, now) < LEAST_STRENGTH
        ]
        for key in lost:
            del self._tables.edges[key]
        for id_ in weak:
            del self._tables.memories[id_], self._tables.entities[id_]
            for key in [key for key in self._tables.edges if id_ in key[:2]]:
                del self._tables.edges[key]
        return len(lost), len(weak)

    async def active(
        self, since: datetime, *, after: tuple[str, str, date] | None = None, limit: int = 1000
    ) -> tuple[tuple[str, str, date], ...]:
        """As the real one."""
        self._tables.check()
        days: dict[tuple[str, str, date], int] = {}
        for entry in self._tables.memories.values():
            if entry.tier is MemoryTier.DAILY and entry.created_at >= since:
                key = (entry.workspace_id, entry.uid, entry.day)
                days[key] = days.get(key, 0) + 1
        found = sorted(key for key, count in days.items() if count > 1 and (after is None or key > after))
        return tuple(found[:limit])

    async def thin_out(self, workspace_id: str, uid: str, day: date, sift: Sift) -> int:
        """As the real one."""
        self._tables.check()
        entries = [
            entry
            for entry in self._tables.memories.values()
            if (entry.workspace_id, entry.uid, entry.day) == (workspace_id, uid, day) and entry.tier is MemoryTier.DAILY
        ]
        kept = {entry.id for entry in sift(entries, ())}
        gone = [entry.id for entry in entries if entry.id not in kept]
        for id_ in gone:
            del self._tables.memories[id_]
        return len(gone)

    def _things(self, workspace_id: str, uid: str) -> dict[str, Entity]:
        return {
            entity.key: attrs.evolve(entity, entry=attrs.evolve(self._tables.memories[id_], embedding=()))
            for id_, entity in self._tables.entities.items()
            if (entity.entry.workspace_id, entity.entry.uid) == (workspace_id, uid)
        }

    def _learn_graph(self, workspace_id: str, uid: str, lesson: Lesson, now: datetime) -> int:
        ids = {key: entity.entry.id for key, entity in self._things(workspace_id, uid).items()}
        added = 0
        for entity in lesson.entities:
            if entity.key in ids:
                self._rewrite(ids[entity.key], entity.entry, now)
            elif len(ids) < MOST_ENTITIES:
                ids[entity.key], added = entity.entry.id, added + 1
                self._tables.memories[entity.entry.id] = entity.entry
                self._tables.entities[entity.entry.id] = entity
        mentioned = {entity.key for entity in lesson.entities}
        for edge in lesson.edges:
            if {edge.source, edge.target} <= mentioned & set(ids) and edge.source != edge.target:
                key = (ids[edge.source], ids[edge.target], edge.relation)
                known = self._tables.edges.get(key)
                self._tables.edges[key] = (_grown(*known, now) if known is not None else 0.5, now)
        return added

    def _learn_procedures(self, lesson: Lesson, now: datetime) -> int:
        added = 0
        for procedure in lesson.procedures:
            whose = (procedure.entry.workspace_id, procedure.entry.uid)
            mine = {
                known.key: id_
                for id_, known in self._tables.procedures.items()
                if (known.entry.workspace_id, known.entry.uid) == whose
            }
            if procedure.key in mine:
                self._rewrite(mine[procedure.key], procedure.entry, now)
            elif len(mine) < MOST_PROCEDURES:
                added += 1
                self._tables.memories[procedure.entry.id] = procedure.entry
                self._tables.procedures[procedure.entry.id] = procedure
        return added

    def _rewrite(self, id_: str, entry: MemoryEntry, now: datetime) -> None:
        before = self._tables.memories[id_]
        said = attrs.evolve(before, content=entry.content, embedder=entry.embedder, embedding=entry.embedding)
        self._tables.memories[id_] = _stronger(said, now)


def _left(strength: float, since: datetime, now: datetime) -> float:
    return float(strength * LEFT_AFTER_A_DAY ** (max(timedelta(), now - since) / timedelta(days=1)))


def _grown(strength: float, since: datetime, now: datetime) -> float:
    return min(1.0, _left(strength, since, now) + STRENGTH_GAINED)


def _stronger(entry: MemoryEntry, now: datetime) -> MemoryEntry:
    weight = _grown(entry.weight, entry.touched_at or entry.created_at, now)
    return attrs.evolve(entry, weight=weight, touched_at=now)
