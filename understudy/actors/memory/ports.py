"""What memory needs of the storage."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Protocol

from understudy.storage.entries import Published
from understudy.storage.records import AuditEntry, Json, MemoryEntry, MemoryHits, Profile, Shelf
from understudy.storage.remembered import Scope


class MemoryKeeper(Protocol):
    """Memories of one person in one workspace; each may raise `StoreUnavailable`. See `storage.memories`."""

    async def profile(self, uid: str) -> Profile | None:
        """What is known of the person."""
        ...

    async def change_profile(
        self, uid: str, change: Callable[[Json], Json], audit: AuditEntry, *, now: datetime
    ) -> Profile:
        """Make of the profile what *change* makes of it; what it raises is raised."""
        ...

    async def shelf(self, shelf: Shelf) -> tuple[MemoryEntry, ...]:
        """The entries on the shelf."""
        ...

    async def days(self, workspace_id: str, uid: str, *, since: date) -> tuple[MemoryEntry, ...]:
        """The daily entries since then, newest day first."""
        ...

    async def add(self, entry: MemoryEntry, audit: AuditEntry, *, most: int) -> tuple[MemoryEntry, ...]:
        """Put an entry on its shelf; what is there then. Raises `StoreConflict` when it is full."""
        ...

    async def share(self, entry: MemoryEntry, audit: AuditEntry, told: Published, *, most: int) -> None:
        """Write an entry for the whole workspace, and the fact of it. Raises `StoreConflict` when it has too many."""
        ...

    async def remove(
        self, shelf: Shelf, which: int | str, audit: AuditEntry, *, expected: tuple[str, ...] | None = None
    ) -> tuple[MemoryEntry, ...] | None:
        """Delete an entry; what is left, None when there is none. Raises `StoreConflict` for another *expected*."""
        ...

    async def forget(self, workspace_id: str, uid: str, entry_id: str, audit: AuditEntry) -> bool:
        """Delete an entry of whichever tier; whether there was one."""
        ...

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
        """What has a word of *text*, and what is like *embedding*."""
        ...


class Strengthening(Protocol):
    """What makes of use strength. See `storage.knowledge`."""

    async def touch(self, workspace_id: str, uid: str, ids: Sequence[str], *, now: datetime) -> None:
        """These were used."""
        ...
