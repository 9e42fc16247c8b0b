# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""What is remembered of people: profiles, daily entries and notes, found by words and by likeness.

An entry and what it is found by are one row, so that no search can miss what was written, or find what was deleted.
"""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import msgspec

from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.entries import Published
from understudy.storage.errors import StoreConflict
from understudy.storage.memory_search import COLUMNS, MemorySearch, read_entry
from understudy.storage.outbox import publish
from understudy.storage.records import (
    AuditEntry,
    Json,
    MemoryEntry,
    MemoryTier,
    Profile,
    Shelf,
)
from understudy.storage.repository import rows
from understudy.storage.rowsecurity import Tenant

_decode = msgspec.json.Decoder().decode
_MINE = "uid = %(uid)s AND workspace_id = %(workspace)s"
_ON_SHELF = f"{_MINE} AND tier = %(tier)s AND (%(day)s::date IS NULL OR day = %(day)s::date)"


class MemoriesRepository(MemorySearch):
    """Memories, as one person in one workspace has them: every query is about both, and reaches nobody else's.

    A change and its line in the audit log are one transaction.
    """

    async def profile(self, uid: str) -> Profile | None:
        """What is known of the person."""
        query = "SELECT profile::text, updated_at FROM user_profiles WHERE uid = %s"
        row = await self._row(query, uid, tenant=Tenant(uid))
        return Profile(_decode(row[0]), row[1]) if row else None

    async def change_profile(
        self, uid: str, change: Callable[[Json], Json], audit: AuditEntry, *, now: datetime
    ) -> Profile:
        """Make of the profile (empty when there is none) what *change* makes of it; changes come one after the other.

        *change* may be called again when the server went away: it must give the same twice. What it raises is raised,
        and nothing is changed.
        """

        async def work(connection: Connection[Any]) -> Profile:
            await lock_memory(connection, uid, "profile")
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
            await record(connection, audit)
            return Profile(_decode(encoded), now)

        return await self._transact(work)

    async def shelf(self, shelf: Shelf) -> tuple[MemoryEntry, ...]:
        """The entries on the shelf, in the order in which they were written."""

        async def work(connection: Connection[Any]) -> tuple[MemoryEntry, ...]:
            return await _entries(connection, shelf)

        return await self._run(work, tenant=Tenant(shelf.uid, shelf.workspace_id))

    async def days(self, workspace_id: str, uid: str, *, since: date) -> tuple[MemoryEntry, ...]:
        """The daily entries of this day and later ones: newest day first, each in the order of writing."""
        found = await self._rows(
            f"SELECT {COLUMNS} FROM memory_entries WHERE {_MINE} AND tier = 'daily' AND day >= %(since)s"
            " ORDER BY day DESC, position",
            uid=uid,
            workspace=workspace_id,
            since=since,
            tenant=Tenant(uid, workspace_id),
        )
        return tuple(map(read_entry, found))

    async def add(self, entry: MemoryEntry, audit: AuditEntry, *, most: int) -> tuple[MemoryEntry, ...]:
        """Put *entry* at the end of its shelf; what is on the shelf then.

        Raises `StoreConflict` (``number of entries``) when there are *most* already.
        """
        shelf = shelf_of(entry)

        async def work(connection: Connection[Any]) -> tuple[MemoryEntry, ...]:
            await lock_memory(connection, entry.uid, entry.workspace_id, entry.tier)
            there = await _entries(connection, shelf)
            if any(known.id == entry.id for known in there):
                return there  # our own first attempt, whose answer was lost
            if len(there) >= most:
                raise StoreConflict("number of entries")
            added = await put_entry(connection, entry)
            await record(connection, audit)
            return (*there, added)

        return await self._transact(work)

    async def share(self, entry: MemoryEntry, audit: AuditEntry, told: Published, *, most: int) -> None:
        """Write *entry*, of the tier ``workspace``, for all of its workspace, and *told* of it; again is harmless.

        Raises `StoreConflict` (``number of entries``) when there are *most* already.
        """

        async def work(connection: Connection[Any]) -> None:
            await lock_memory(connection, entry.workspace_id, entry.tier)
            shared = "FROM memory_entries WHERE workspace_id = %s AND tier = 'workspace'"
            if await rows(connection, f"SELECT {shared} AND id = %s", entry.workspace_id, entry.id):
                return  # our own first attempt, whose answer was lost
            if (await rows(connection, f"SELECT count(*) {shared}", entry.workspace_id))[0][0] >= most:
                raise StoreConflict("number of entries")
            await put_entry(connection, entry)
            await publish(connection, told)
            await record(connection, audit)

        await self._transact(work)

    async def remove(
        self, shelf: Shelf, which: int | str, audit: AuditEntry, *, expected: tuple[str, ...] | None = None
    ) -> tuple[MemoryEntry, ...] | None:
        """Delete the entry of this id, or at this place from 0 on; what is left, or None when there is no such entry.

        *expected* are the ids that the shelf had when the caller looked: raises `StoreConflict` (``shelf``) when it has
        others by now.
        """

        async def work(connection: Connection[Any]) -> tuple[MemoryEntry, ...] | None:
            await lock_memory(connection, shelf.uid, shelf.workspace_id, shelf.tier)
            there = await _entries(connection, shelf)
            if await is_recorded(connection, audit):
                return there  # our own first attempt, whose answer was lost
            gone = chosen(there, which, expected)
            if gone is None:
                return None
            await rows(
                connection, f"DELETE FROM memory_entries WHERE id = %(id)s AND {_MINE}", **_owner(shelf), id=gone
            )
            await record(connection, audit)
            return tuple(entry for entry in there if entry.id != gone)

        return await self._transact(work)

    async def forget(self, workspace_id: str, uid: str, entry_id: str, audit: AuditEntry) -> bool:
        """Delete an entry that is the person's, of whichever tier; whether there was one."""

        async def work(connection: Connection[Any]) -> bool:
            if await is_recorded(connection, audit):
                return True  # our own first attempt, whose answer was lost
            gone = await rows(
                connection,
                f"DELETE FROM memory_entries WHERE id = %(id)s AND {_MINE} RETURNING id",
                id=entry_id,
                uid=uid,
                workspace=workspace_id,
            )
            if gone:
                await record(connection, audit)
            return bool(gone)

        return await self._transact(work)

    async def expire(self, now: datetime, *, limit: int = 1000) -> int:
        """Delete entries whose time is over, at most *limit*; how many."""
        return await self._count(
            "DELETE FROM memory_entries WHERE id IN (SELECT id FROM memory_entries WHERE expires_at <= %s LIMIT %s)",
            now,
            limit,
        )


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
        f"SELECT {COLUMNS} FROM memory_entries WHERE {_ON_SHELF} ORDER BY position",
        **_owner(shelf),
        tier=shelf.tier.value,
        day=shelf.day,
    )
    return tuple(map(read_entry, found))


async def lock_memory(connection: Connection[Any], *whose: str) -> None:
    """One change at a time: held until the transaction ends."""
    key = "|".join(("memory", *whose))
    await rows(connection, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", key)


async def put_entry(connection: Connection[Any], entry: MemoryEntry) -> MemoryEntry:
    """Write an entry, in the transaction that *connection* is in; as it is read."""
    added = await rows(
        connection,
        f"INSERT INTO memory_entries ({COLUMNS}, embedding)"
        f" VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::real[]) RETURNING {COLUMNS}",
        entry.id,
        entry.workspace_id,
        entry.uid,
        entry.tier.value,
        entry.day,
        str(entry.category),
        entry.content,
        entry.created_at,
        entry.weight,
        entry.embedder,
        entry.expires_at,
        entry.touched_at,
        list(entry.embedding),
    )
    return read_entry(added[0])
