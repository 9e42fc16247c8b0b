"""Memories without a database."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime

import attrs
import msgspec

from understudy.storage.batch import encode
from understudy.storage.errors import StoreConflict, Unstorable
from understudy.storage.memories import chosen, shelf_of
from understudy.storage.memory.tables import Tables
from understudy.storage.records import AuditEntry, Json, MemoryEntry, MemoryHits, MemoryTier, Profile, Shelf

_WORD = re.compile(r"\w+")
_STOP = frozenset({"a", "and", "are", "at", "do", "for", "i", "in", "is", "it", "my", "of", "on", "the", "to", "what"})


class MemoryMemories:
    """See `understudy.storage.memories.MemoriesRepository`. Its words have no stems but those without an ``s``."""

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

    async def search(
        self,
        workspace_id: str,
        uid: str,
        *,
        text: str,
        embedder: str,
        embedding: tuple[float, ...],
        limit: int,
        least: float,
        faded: datetime | None = None,
    ) -> MemoryHits:
        """As the real one."""
        self._tables.check()
        asked = _words(text)
        newest_first = [
            entry
            for entry in reversed(list(self._tables.memories.values()))
            if (entry.workspace_id, entry.uid) == (workspace_id, uid)
            and (entry.tier is not MemoryTier.DAILY or faded is None or entry.created_at >= faded)
        ]
        worded = [(len(asked & _words(entry.content)), entry) for entry in newest_first]
        liked = [(_cosine(embedding, entry.embedding), entry) for entry in newest_first if entry.embedder == embedder]
        return MemoryHits(_best(worded, 1, limit), _best(liked, least, limit))

    def _mine(self, workspace_id: str, uid: str) -> list[MemoryEntry]:
        """In the order of writing, and without their embeddings."""
        return [
            _plain(entry)
            for entry in self._tables.memories.values()
            if (entry.workspace_id, entry.uid) == (workspace_id, uid)
        ]


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
