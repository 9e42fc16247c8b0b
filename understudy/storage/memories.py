# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""What is remembered of people: profiles, daily entries and notes, found by words and by likeness.

An entry and what it is found by are one row, so that no search can miss what was written, or find what was deleted.
"""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import msgspec

from understudy.storage.batch import audit_row, encode
from understudy.storage.connection import Connection
from understudy.storage.errors import StoreConflict
from understudy.storage.pool import Pool
from understudy.storage.records import (
    AuditEntry,
    Json,
    MemoryCategory,
    MemoryEntry,
    MemoryHits,
    MemoryTier,
    Profile,
    Shelf,
)
from understudy.storage.repository import Repository, Row, rows

_decode = msgspec.json.Decoder().decode
_COLUMNS = "id, workspace_id, uid, tier, day, category, content, created_at, weight, embedder"
_MINE = "uid = %(uid)s AND workspace_id = %(workspace)s"
_ON_SHELF = f"{_MINE} AND tier = %(tier)s AND (%(day)s::date IS NULL OR day = %(day)s::date)"
_NOT_FADED = "(tier <> 'daily' OR %(faded)s::timestamptz IS NULL OR created_at >= %(faded)s)"
# Any of the words will do: people ask with more words than what they ask for was written with.
_BY_WORDS = f"""
WITH asked AS (SELECT replace(plainto_tsquery('english', %(text)s)::text, ' & ', ' | ')::tsquery AS query)
SELECT {_COLUMNS} FROM memory_entries, asked
WHERE {_MINE} AND {_NOT_FADED} AND words @@ query
ORDER BY ts_rank(words, query) DESC, position DESC LIMIT %(limit)s
"""
# The distance is taken only of vectors that this embedder made: others may be of another length, which is an error. It
# is taken once for each: OFFSET keeps the planner from writing it into every place that names it. And by no index: an
# approximate one finds the nearest of everybody's, among which there may be none of one's own.
_BY_VECTOR = f"""
WITH asked AS MATERIALIZED (SELECT %(embedding)s::real[]::vector AS vector),
best AS (
    SELECT id, likeness, position FROM (
        SELECT id, position, CASE WHEN embedder = %(embedder)s
            THEN 1 - (embedding::vector <=> (SELECT vector FROM asked)) END AS likeness
        FROM memory_entries WHERE {_MINE} AND {_NOT_FADED} OFFSET 0
    ) mine
    WHERE likeness >= %(least)s AND likeness <> 'NaN' ORDER BY likeness DESC, position DESC LIMIT %(limit)s
)
SELECT {_COLUMNS} FROM memory_entries JOIN best USING (id) ORDER BY best.likeness DESC, best.position DESC
"""


class MemoriesRepository(Repository):
    """Memories, as one person in one workspace has them: every query is about both, and reaches nobody else's.

    A change and its line in the audit log are one transaction.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._has_vectors = False

    async def profile(self, uid: str) -> Profile | None:
        """What is known of the person."""
        row = await self._row("SELECT profile::text, updated_at FROM user_profiles WHERE uid = %s", uid)
        return Profile(_decode(row[0]), row[1]) if row else None

    async def change_profile(
        self, uid: str, change: Callable[[Json], Json], audit: AuditEntry, *, now: datetime
    ) -> Profile:
        """Make of the profile (empty when there is none) what *change* makes of it; changes come one after the other.

        *change* may be called again when the server went away: it must give the same twice. What it raises is raised,
        and nothing is changed.
        """

        async def work(connection: Connection[Any]) -> Profile:
            await _lock(connection, uid, "profile")
            found = await rows(connection, "SELECT profile::text FROM user_profiles WHERE uid = %s", uid)
            encoded = encode(change(_decode(found[0][0]) if found else {})).decode()
            await rows(
                connection,
                "INSERT INTO user_profiles (uid, profile, updated_at) VALUES (%s, %s::json, %s)"
                " ON CONFLICT (uid) DO UPDATE SET profile = excluded.profile, updated_at = excluded.updated_at",
                uid,
                encoded,
                now,
            )
            await _audit(connection, audit)
            return Profile(_decode(encoded), now)

        return await self._transact(work)

    async def shelf(self, shelf: Shelf) -> tuple[MemoryEntry, ...]:
        """The entries on the shelf, in the order in which they were written."""

        async def work(connection: Connection[Any]) -> tuple[MemoryEntry, ...]:
            return await _entries(connection, shelf)

        return await self._run(work)

    async def days(self, workspace_id: str, uid: str, *, since: date) -> tuple[MemoryEntry, ...]:
        """The daily entries of this day and later ones: newest day first, each in the order of writing."""
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM memory_entries WHERE {_MINE} AND tier = 'daily' AND day >= %(since)s"
            " ORDER BY day DESC, position",
            uid=uid,
            workspace=workspace_id,
            since=since,
        )
        return tuple(map(_entry, found))

    async def add(self, entry: MemoryEntry, audit: AuditEntry, *, most: int) -> tuple[MemoryEntry, ...]:
        """Put *entry* at the end of its shelf; what is on the shelf then.

        Raises `StoreConflict` (``number of entries``) when there are *most* already.
        """
        shelf = shelf_of(entry)

        async def work(connection: Connection[Any]) -> tuple[MemoryEntry, ...]:
            await _lock(connection, entry.uid, entry.workspace_id, entry.tier)
            there = await _entries(connection, shelf)
            if any(known.id == entry.id for known in there):
                return there  # our own first attempt, whose answer was lost
            if len(there) >= most:
                raise StoreConflict("number of entries")
            added = await rows(
                connection,
                f"INSERT INTO memory_entries ({_COLUMNS}, embedding)"
                f" VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::real[]) RETURNING {_COLUMNS}",
                entry.id,
                entry.workspace_id,
                entry.uid,
                entry.tier.value,
                entry.day,
                entry.category.value,
                entry.content,
                entry.created_at,
                entry.weight,
                entry.embedder,
                list(entry.embedding),
            )
            await _audit(connection, audit)
            return (*there, _entry(added[0]))

        return await self._transact(work)

    async def remove(
        self, shelf: Shelf, which: int | str, audit: AuditEntry, *, expected: tuple[str, ...] | None = None
    ) -> tuple[MemoryEntry, ...] | None:
        """Delete the entry of this id, or at this place from 0 on; what is left, or None when there is no such entry.

        *expected* are the ids that the shelf had when the caller looked: raises `StoreConflict` (``shelf``) when it has
        others by now.
        """

        async def work(connection: Connection[Any]) -> tuple[MemoryEntry, ...] | None:
            await _lock(connection, shelf.uid, shelf.workspace_id, shelf.tier)
            there = await _entries(connection, shelf)
            if await rows(connection, "SELECT FROM audit_log WHERE id = %s", audit.id):
                return there  # our own first attempt, whose answer was lost
            gone = chosen(there, which, expected)
            if gone is None:
                return None
            await rows(
                connection, f"DELETE FROM memory_entries WHERE id = %(id)s AND {_MINE}", **_owner(shelf), id=gone
            )
            await _audit(connection, audit)
            return tuple(entry for entry in there if entry.id != gone)

        return await self._transact(work)

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
        """What has any word of *text*, and what has a cosine of at least *least* with *embedding*; so many of each.

        Likeness is exact: no entry is missed for an index's sake. Daily entries from before *faded* are left out.
        Without pgvector there is no likeness, and the answer says so.
        """
        given = {
            "workspace": workspace_id,
            "uid": uid,
            "text": text,
            "limit": limit,
            "faded": faded,
            "embedder": embedder,
            "embedding": list(embedding),
            "least": least,
        }

        async def work(connection: Connection[Any]) -> MemoryHits:
            by_words = await rows(connection, _BY_WORDS, **given)
            if not await self._vectors(connection):
                return MemoryHits(tuple(map(_entry, by_words)))
            by_vector = await rows(connection, _BY_VECTOR, **given)
            return MemoryHits(tuple(map(_entry, by_words)), tuple(map(_entry, by_vector)))

        return await self._run(work)

    async def _vectors(self, connection: Connection[Any]) -> bool:
        """Whether the server can compare vectors. Asked again until it can: the extension may be added any time."""
        if not self._has_vectors:
            self._has_vectors = bool(await rows(connection, "SELECT FROM pg_extension WHERE extname = 'vector'"))
        return self._has_vectors


def shelf_of(entry: MemoryEntry) -> Shelf:
    """Where an entry is kept."""
    day = entry.day if entry.tier is MemoryTier.DAILY else None
    return Shelf(entry.workspace_id, entry.uid, entry.tier, day)


def chosen(there: tuple[MemoryEntry, ...], which: int | str, expected: tuple[str, ...] | None) -> str | None:
    """The id of the entry that is meant. Raises `StoreConflict` as `MemoriesRepository.remove`."""
    ids = tuple(entry.id for entry in there)
    if expected is not None and ids != expected:
        raise StoreConflict("shelf")
    if isinstance(which, int):
        return ids[which] if 0 <= which < len(ids) else None
    return which if which in ids else None


def _owner(shelf: Shelf) -> dict[str, object]:
    return {"uid": shelf.uid, "workspace": shelf.workspace_id}


async def _entries(connection: Connection[Any], shelf: Shelf) -> tuple[MemoryEntry, ...]:
    found = await rows(
        connection,
        f"SELECT {_COLUMNS} FROM memory_entries WHERE {_ON_SHELF} ORDER BY position",
        **_owner(shelf),
        tier=shelf.tier.value,
        day=shelf.day,
    )
    return tuple(map(_entry, found))


async def _lock(connection: Connection[Any], *whose: str) -> None:
    """One change at a time: held until the transaction ends."""
    key = "|".join(("memory", *whose))
    await rows(connection, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", key)


async def _audit(connection: Connection[Any], entry: AuditEntry) -> None:
    await rows(connection, "SELECT audit_append(%s::json)", encode([audit_row(entry)]).decode())


def _entry(row: Row) -> MemoryEntry:
    id_, workspace_id, uid, tier, day, category, content, created_at, weight, embedder = row
    return MemoryEntry(
        id_,
        workspace_id,
        uid,
        MemoryTier(tier),
        day,
        MemoryCategory(category),
        content,
        created_at,
        weight,
        embedder,
    )
