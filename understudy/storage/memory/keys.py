"""Internal keys in memory."""

from datetime import datetime

import attrs

from understudy.storage.errors import StoreConflict
from understudy.storage.keys import MOST_KEYS, SHOWN
from understudy.storage.memory.tables import Tables
from understudy.storage.oversight import InternalKey
from understudy.storage.records import AuditEntry


class MemoryKeys:
    """See `understudy.storage.keys.KeyRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._keys: dict[str, InternalKey] = {}

    async def find(self, digest: bytes) -> InternalKey | None:
        """As the real one."""
        self._tables.check()
        return next((key for key in self._keys.values() if key.digest == digest), None)

    async def any(self, now: datetime) -> bool:
        """As the real one."""
        self._tables.check()
        return any(key.counts(now) for key in self._keys.values())

    async def list(self) -> tuple[InternalKey, ...]:
        """As the real one."""
        self._tables.check()
        found = sorted(self._keys.values(), key=lambda key: key.id)
        found.sort(key=lambda key: key.created_at, reverse=True)
        return tuple(sorted(found, key=lambda key: key.revoked_at is not None)[:SHOWN])

    async def add(self, key: InternalKey, audit: AuditEntry) -> None:
        """As the real one."""
        self._tables.check()
        if key.id in self._keys:
            return
        for known in self._keys.values():
            if known.revoked_at is None and known.expires_at is not None and known.expires_at <= key.created_at:
                self._keys[known.id] = attrs.evolve(known, revoked_at=known.expires_at)
        counting = [known for known in self._keys.values() if known.revoked_at is None]
        if len(counting) >= MOST_KEYS:
            raise StoreConflict("number of keys")
        if any(known.name == key.name for known in counting):
            raise StoreConflict("key name")
        self._keys[key.id] = key
        self._tables.append_audit(audit)

    async def revoke(self, key_id: str, audit: AuditEntry, *, now: datetime) -> InternalKey | None:
        """As the real one."""
        self._tables.check()
        key = self._keys.get(key_id)
        if key is not None and key.revoked_at is None:
            key = self._keys[key_id] = attrs.evolve(key, revoked_at=now)
            self._tables.append_audit(audit)
        return key

    async def get(self, key_id: str) -> InternalKey | None:
        """As the real one."""
        self._tables.check()
        return self._keys.get(key_id)

    async def used(self, key_id: str, at: datetime) -> None:
        """As the real one."""
        self._tables.check()
        if (key := self._keys.get(key_id)) is not None:
            self._keys[key_id] = attrs.evolve(key, last_used_at=max(key.last_used_at or at, at))
