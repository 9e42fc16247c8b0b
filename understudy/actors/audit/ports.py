"""Where audit lines go, and where they are read."""

from typing import Protocol

from understudy.storage.entries import Entry
from understudy.storage.oversight import AuditFilter, AuditLine
from understudy.storage.records import AuditVerdict


class Writer(Protocol):
    """The journal, as a writer sees it."""

    async def write(self, *entries: Entry) -> None:
        """Write the entries as one group; returns after commit. Raises `StoreUnavailable` when it could not in time."""
        ...


class AuditLog(Protocol):
    """The log, as a reader sees it. All raise `StoreUnavailable`."""

    async def list(
        self, wanted: AuditFilter, *, limit: int = 100, offset: int = 0
    ) -> tuple[tuple[AuditLine, ...], int]:
        """One page of lines, newest first, and how many there are on all pages."""
        ...

    async def scan(self, wanted: AuditFilter, *, after: int = 0, limit: int = 1000) -> tuple[AuditLine, ...]:
        """The next lines behind the place *after*, oldest first."""
        ...

    async def end(self) -> int:
        """The place of the last line; 0 for an empty log."""
        ...

    async def at(self, position: int) -> AuditLine | None:
        """The line in that place."""
        ...

    async def verify(self) -> AuditVerdict:
        """Check the whole chain."""
        ...
