"""A writer without the journal's actor: straight to the journal."""

from collections.abc import Sequence
from typing import Protocol

from understudy.storage.entries import Entry
from understudy.storage.errors import StorageError


class Journal(Protocol):
    """What writes groups: the real journal, or the memory store's."""

    async def write(self, groups: Sequence[tuple[Entry, ...]]) -> Sequence[StorageError | None]:
        """Write each group whole or not at all; what became of each."""
        ...


class DirectWriter:
    """Writes each group by itself, and raises what became of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def write(self, *entries: Entry) -> None:
        """Write the entries as one group."""
        (outcome,) = await self._journal.write([entries])
        if outcome is not None:
            raise outcome

    async def write_groups(self, groups: Sequence[tuple[Entry, ...]]) -> Sequence[StorageError | None]:
        """Write each group; what became of it."""
        return await self._journal.write(groups)
