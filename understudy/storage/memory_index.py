"""The vectors of memory: those that were paid for, and those that another embedder made than the present one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.remembered import Vector
from understudy.storage.repository import Repository, rows


class MemoryIndexRepository(Repository):
    """Vectors by embedder. One is written into the row that it is of: no search finds the one without the other."""

    async def kept(self, embedder: str, digests: Sequence[bytes], *, now: datetime) -> Mapping[bytes, Vector]:
        """The vectors that *embedder* made of texts with these SHA-256, if they were kept; they count as used."""
        found = await self._rows(
            "UPDATE embeddings SET used_at = %s WHERE embedder = %s AND digest = ANY (%s) RETURNING digest, vector",
            now,
            embedder,
            list(digests),
        )
        return {bytes(digest): tuple(vector) for digest, vector in found}

    async def keep(self, embedder: str, vectors: Mapping[bytes, Vector], *, now: datetime) -> None:
        """Keep vectors for when the same texts come again."""

        async def work(connection: Connection[Any]) -> None:
            for digest in sorted(vectors):
                await rows(
                    connection,
                    "INSERT INTO embeddings (embedder, digest, vector, used_at) VALUES (%s, %s, %s::real[], %s)"
                    " ON CONFLICT (embedder, digest) DO UPDATE SET used_at = excluded.used_at",
                    embedder,
                    digest,
                    list(vectors[digest]),
                    now,
                )

        await self._transact(work)

    async def forget(self, before: datetime) -> int:
        """Let go of vectors that were not used since; how many."""
        return await self._prune("embeddings", "used_at < %s", before)

    async def outdated(
        self, embedder: str, *, limit: int, of: tuple[str, str] | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Ids and texts of entries whose vectors *embedder* did not make, of all or *of* a workspace and person."""
        query = "SELECT id, content FROM memory_entries WHERE (embedder < %(embedder)s OR embedder > %(embedder)s)"
        if of is not None:
            query += " AND workspace_id = %(workspace)s AND uid = %(uid)s"
        workspace_id, uid = of or (None, None)
        found = await self._rows(
            f"{query} ORDER BY position LIMIT %(limit)s",
            embedder=embedder,
            workspace=workspace_id,
            uid=uid,
            limit=limit,
        )
        return tuple((row[0], row[1]) for row in found)

    async def renew(self, embedder: str, vectors: Mapping[str, tuple[str, Vector]]) -> int:
        """Give entries (by id: the text that the vector is of, and the vector) their new vectors; how many.

        One whose text has changed meanwhile is left for the next time.
        """
        given = [{"id": id_, "text": text, "vector": vector} for id_, (text, vector) in sorted(vectors.items())]
        return await self._count(
            "UPDATE memory_entries m SET embedder = %s, embedding = r.vector"
            " FROM json_to_recordset(%s::json) AS r(id text, text text, vector real[])"
            " WHERE m.id = r.id AND m.content = r.text",
            embedder,
            encode(given).decode(),
        )
