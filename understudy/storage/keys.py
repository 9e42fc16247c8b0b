# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Internal keys, kept as hashes."""

from datetime import datetime
from typing import Any

from understudy.storage.audit import record
from understudy.storage.connection import Connection
from understudy.storage.errors import StoreConflict
from understudy.storage.oversight import InternalKey
from understudy.storage.records import AuditEntry
from understudy.storage.repository import Repository, Row, rows

MOST_KEYS = 100
"""Keys that may count at a time."""
SHOWN = 200
"""Keys that are listed: those that count, and the newest of those that were revoked."""

_COLUMNS = "id, name, digest, scopes, created_by, created_at, expires_at, last_used_at, revoked_at"


class KeyRepository(Repository):
    """Keys and what becomes of them; a change and its line in the audit log are one transaction."""

    async def find(self, digest: bytes) -> InternalKey | None:
        """The key whose secret has this SHA-256, whether or not it still counts."""
        row = await self._row(f"SELECT {_COLUMNS} FROM internal_keys WHERE digest = %s", digest)
        return _key(row) if row else None

    async def any(self, now: datetime) -> bool:
        """Whether there is a key that counts."""
        query = "SELECT FROM internal_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %s) LIMIT 1"
        return bool(await self._rows(query, now))

    async def list(self) -> tuple[InternalKey, ...]:
        """The keys, newest first, those that were revoked behind the others."""
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM internal_keys ORDER BY revoked_at IS NOT NULL, created_at DESC, id LIMIT %s", SHOWN
        )
        return tuple(_key(row) for row in found)

    async def add(self, key: InternalKey, audit: AuditEntry) -> None:
        """Store a new key. Raises `StoreConflict`: ``key name`` (of one that counts) or ``number of keys``.

        Keys that ran out before it was made are revoked as of then.
        """

        async def work(connection: Connection[Any]) -> None:
            if await rows(connection, "SELECT FROM internal_keys WHERE id = %s", key.id):
                return  # our own first attempt, whose answer was lost
            # What has run out counts no more: neither its name nor its place is taken by it.
            await rows(
                connection,
                "UPDATE internal_keys SET revoked_at = expires_at WHERE revoked_at IS NULL AND expires_at <= %s",
                key.created_at,
            )
            counted = await rows(connection, "SELECT count(*) FROM internal_keys WHERE revoked_at IS NULL")
            if counted[0][0] >= MOST_KEYS:
                raise StoreConflict("number of keys")
            await rows(
                connection,
                f"INSERT INTO internal_keys ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                key.id,
                key.name,
                key.digest,
                list(key.scopes),
                key.created_by,
                key.created_at,
                key.expires_at,
                key.last_used_at,
                key.revoked_at,
            )
            await record(connection, audit)

        await self._transact(work)

    async def revoke(self, key_id: str, audit: AuditEntry, *, now: datetime) -> InternalKey | None:
        """Make the key open nothing any more; the key, or None. One that was revoked already stays as it was."""

        async def work(connection: Connection[Any]) -> InternalKey | None:
            revoked = await rows(
                connection,
                f"UPDATE internal_keys SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL RETURNING {_COLUMNS}",
                now,
                key_id,
            )
            if revoked:
                await record(connection, audit)
                return _key(revoked[0])
            found = await rows(connection, f"SELECT {_COLUMNS} FROM internal_keys WHERE id = %s", key_id)
            return _key(found[0]) if found else None

        return await self._transact(work)

    async def get(self, key_id: str) -> InternalKey | None:
        """The key with this id."""
        row = await self._row(f"SELECT {_COLUMNS} FROM internal_keys WHERE id = %s", key_id)
        return _key(row) if row else None

    async def used(self, key_id: str, at: datetime) -> None:
        """Note that the key opened something."""
        await self._count(
            "UPDATE internal_keys SET last_used_at = greatest(last_used_at, %s) WHERE id = %s", at, key_id
        )


def _key(row: Row) -> InternalKey:
    id_, name, digest, scopes, *rest = row
    return InternalKey(id_, name, bytes(digest), tuple(scopes), *rest)
