"""The vectors of memory without a database."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from understudy.storage.memory.tables import Tables
from understudy.storage.remembered import Vector


class MemoryMemoryIndex:
    """See `understudy.storage.memory_index.MemoryIndexRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._kept: dict[tuple[str, bytes], tuple[Vector, datetime]] = {}

    async def kept(self, embedder: str, digests: Sequence[bytes], *, now: datetime) -> Mapping[bytes, Vector]:
        """As the real one."""
        self._tables.check()
        there = {digest: self._kept[embedder, digest][0] for digest in digests if (embedder, digest) in self._kept}
        await self.keep(embedder, there, now=now)
        return there

    async def keep(self, embedder: str, vectors: Mapping[bytes, Vector], *, now: datetime) -> None:
        """As the real one."""
        self._tables.check()
        for digest, vector in vectors.items():
            known = self._kept.get((embedder, digest))
            self._kept[embedder, digest] = (known[0] if known is not None else vector, now)

    async def forget(self, before: datetime) -> int:
        """As the real one."""
        self._tables.check()
        gone = [key for key, (_, used_at) in self._kept.items() if used_at < before]
        for key in gone:
            del self._kept[key]
        return len(gone)

    async def outdated(
        self, embedder: str, *, limit: int, of: tuple[str, str] | None = None
    ) -> tuple[tuple[str, str], ...]:
        """As the real one."""
        self._tables.check()
        old = [
            (entry.id, entry.content)
            for entry in self._tables.memories.values()
            if entry.embedder != embedder and of in (None, (entry.workspace_id, entry.uid))
        ]
        return tuple(old[:limit])

    async def renew(self, embedder: str, vectors: Mapping[str, tuple[str, Vector]]) -> int:
        """As the real one."""
        self._tables.check()
        renewed = 0
        for id_, (text, vector) in vectors.items():
            entry = self._tables.memories.get(id_)
            if entry is not None and entry.content == text:
                self._tables.memories[id_] = attrs.evolve(entry, embedder=embedder, embedding=vector)
                renewed += 1
        return renewed
