"""Memories without a database."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import attrs
import msgspec

from understudy.storage.encoding import encode
from understudy.storage.entries import Published
from understudy.storage.errors import StoreConflict, Unstorable
from understudy.storage.memories import chosen, shelf_of
from understudy.storage.memory.tables import Tables
from understudy.storage.memory_search import LONGEST_SAID, MOST_SEEDS
from understudy.storage.memory_words import MANY
from understudy.storage.records import (
    AuditEntry,
    Json,
    MemoryCategory,
    MemoryEntry,
    MemoryHits,
    MemoryTier,
    Profile,
    Role,
    Shelf,
)
from understudy.storage.remembered import Scope

_WORD = re.compile(r"\w+")
_STOP = frozenset({"a", "and", "are", "at", "do", "for", "i", "in", "is", "it", "my", "of", "on", "the", "to", "what"})


class MemoryMemories:
    """See `understudy.storage.memories.MemoriesRepository`. Its words have no stems but those without an ``s``.

    A search looks at everything: `memory_words.Bounds` are not for it.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def profile(self, uid: str) -> Profile | None:
        """As the real one."""
        self._tables.check()
        return self._tables.profiles.get(uid)

    async def change_profile(
        self, uid: str, change: Callable[[Json], Json], audit: AuditEntry, *, now: datetime
    ) -> Profile:
        """As the real one."""
        self._tables.check()
        before = self._tables.profiles.get(uid)
        content = msgspec.json.decode(encode(change(before.content if before is not None else {})))
        if uid not in self._tables.users:
            raise Unstorable("the user does not exist")
        profile = self._tables.profiles[uid] = Profile(content, now)
        self._tables.append_audit(audit)
        return profile

    async def shelf(self, shelf: Shelf) -> tuple[MemoryEntry, ...]:
        """As the real one."""
        self._tables.check()
        return tuple(
            entry
            for entry in self._mine(shelf.workspace_id, shelf.uid)
            if entry.tier is shelf.tier and shelf.day in {None, entry.day}
        )

    async def days(self, workspace_id: str, uid: str, *, since: date) -> tuple[MemoryEntry, ...]:
        """As the real one."""
        self._tables.check()
        found = [
            entry for entry in self._mine(workspace_id, uid) if entry.tier is MemoryTier.DAILY and entry.day >= since
        ]
        return tuple(sorted(found, key=lambda entry: -entry.day.toordinal()))

    async def add(self, entry: MemoryEntry, audit: AuditEntry, *, most: int) -> tuple[MemoryEntry, ...]:
        """As the real one."""
        there = await self.shelf(shelf_of(entry))
        if entry.id in self._tables.memories:
            return there
        if len(there) >= most:
            raise StoreConflict("number of entries")
        if entry.uid not in self._tables.users or entry.workspace_id not in self._tables.workspaces:
            raise Unstorable("the user or the workspace does not exist")
        self._tables.memories[entry.id] = entry
        self._tables.append_audit(audit)
        return await self.shelf(shelf_of(entry))

    async def share(self, entry: MemoryEntry, audit: AuditEntry, told: Published, *, most: int) -> None:
        """As the real one."""
        self._tables.check()
        if entry.id in self._tables.memories:
            return
        shared = [
            known
            for known in self._tables.memories.values()
            if known.tier is MemoryTier.WORKSPACE and known.workspace_id == entry.workspace_id
        ]
        if len(shared) >= most:
            raise StoreConflict("number of entries")
        self._tables.memories[entry.id] = entry
        self._tables.publish(told)
        self._tables.append_audit(audit)

    async def remove(
        self, shelf: Shelf, which: int | str, audit: AuditEntry, *, expected: tuple[str, ...] | None = None
    ) -> tuple[MemoryEntry, ...] | None:
        """As the real one."""
        there = await self.shelf(shelf)
        if any(line.entry.id == audit.id for line in self._tables.audit):
            return there
        gone = chosen(there, which, expected)
        if gone is None:
            return None
        del self._tables.memories[gone]
        self._tables.append_audit(audit)
        return await self.shelf(shelf)

    async def forget(self, workspace_id: str, uid: str, entry_id: str, audit: AuditEntry) -> bool:
        """As the real one."""
        self._tables.check()
        if any(line.entry.id == audit.id for line in self._tables.audit):
            return True
        entry = self._tables.memories.get(entry_id)
        if entry is None or (entry.workspace_id, entry.uid) != (workspace_id, uid):
            return False
        del self._tables.memories[entry_id]
        self._tables.entities.pop(entry_id, None)
        self._tables.procedures.pop(entry_id, None)
        for key in [key for key in self._tables.edges if entry_id in key[:2]]:
            del self._tables.edges[key]
        self._tables.append_audit(audit)
        return True

    async def expire(self, now: datetime, *, limit: int = 1000) -> int:
        """As the real one."""
        self._tables.check()
        over = [entry.id for entry in self._tables.memories.values() if entry.expires_at and entry.expires_at <= now]
        for gone in over[:limit]:
            del self._tables.memories[gone]
        return len(over[:limit])

    async def search(
        self,
        scope: Scope,
        *,
        text: str,
        embedder: str,
        embedding: tuple[float, ...],
        limit: int,
        least: float,
        stale: float,
    ) -> MemoryHits:
        """As the real one."""
        self._tables.check()
        asked = _words(text)
        newest_first = [entry for entry in reversed(list(self._tables.memories.values())) if _within(scope, entry)]
        worded = [(entry, asked & _words(entry.content)) for entry in newest_first]
        having = Counter(word for _, words in worded for word in words)
        weighed = [(math.fsum(math.log1p(MANY / having[word]) for word in words), entry) for entry, words in worded]
        liked = [
            (_cosine(embedding, entry.embedding), entry)
            for entry in newest_first
            if entry.embedder == embedder and embedding
        ]
        by_words, by_vector = _best(weighed, 1e-9, limit), _best(liked, least, limit)
        things = (entry.id for entry in (*by_vector, *by_words) if entry.tier is MemoryTier.GRAPH)
        near = self._walk(list(dict.fromkeys(things))[:MOST_SEEDS], scope.now, stale)
        by_graph = _best([(near.get(entry.id, 0.0), entry) for entry in newest_first], 1e-9, limit)
        said = [(len(asked & _words(message.content)), message) for message in self._said(scope)]
        return MemoryHits(by_words, by_vector, by_graph, _best(said, 1, limit))

    def _walk(self, seeds: Sequence[str], now: datetime, stale: float) -> dict[str, float]:
        """What is reached from *seeds* in two steps, and how strong the way is."""
        reached: dict[str, float] = {}
        at = dict.fromkeys(seeds, 1.0)
        for share in (1.0, 0.5):
            step: dict[str, float] = {}
            for (source, target, _), (strength, touched) in self._tables.edges.items():
                for here, there in ((source, target), (target, source)):
                    if here in at:
                        way = at[here] * strength * stale ** (max(timedelta(), now - touched) / timedelta(days=1))
                        step[there] = max(step.get(there, 0.0), way)
            for there, way in step.items():
                reached[there] = max(reached.get(there, 0.0), way * share)
            at = step
        return reached

    def _said(self, scope: Scope) -> list[MemoryEntry]:
        """What was said in the person's sessions, newest first."""
        if MemoryTier.SESSION not in scope.tiers:
            return []
        said = []
        for message in reversed(list(self._tables.messages.values())):
            key = self._tables.sessions[message.session_id].key
            if (
                (key.workspace_id, key.uid) == (scope.workspace_id, scope.uid)
                and message.session_id != scope.besides
                and message.role in {Role.USER, Role.ASSISTANT}
                and message.status == "complete"
            ):
                content, day = message.content[:LONGEST_SAID], message.created_at.date()
                category = MemoryCategory.INTERACTION
                said.append(
                    MemoryEntry(
                        message.id, key.workspace_id, key.uid, MemoryTier.SESSION, day, category, content,
                        message.created_at,
                    )
                )  # fmt: skip
        return said

    def _mine(self, workspace_id: str, uid: str) -> list[MemoryEntry]:
        """In the order of writing, and without their embeddings."""
        return [
            _plain(entry)
            for entry in self._tables.memories.values()
            if (entry.workspace_id, entry.uid) == (workspace_id, uid)
        ]


def _within(scope: Scope, entry: MemoryEntry) -> bool:
    mine = entry.tier is MemoryTier.WORKSPACE or entry.uid == scope.uid
    faded = entry.tier is MemoryTier.DAILY and scope.faded is not None and entry.created_at < scope.faded
    over = entry.expires_at is not None and entry.expires_at <= scope.now
    return mine and entry.workspace_id == scope.workspace_id and entry.tier in scope.tiers and not faded and not over


def _best(scored: Sequence[tuple[float, MemoryEntry]], least: float, limit: int) -> tuple[MemoryEntry, ...]:
    found = sorted((pair for pair in scored if pair[0] >= least), key=lambda pair: -pair[0])
    return tuple(_plain(entry) for _, entry in found[:limit])


def _plain(entry: MemoryEntry) -> MemoryEntry:
    return attrs.evolve(entry, embedding=())


def _words(text: str) -> set[str]:
    return {word.rstrip("s") for word in _WORD.findall(text.lower()) if word not in _STOP}


def _cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else -1.0
