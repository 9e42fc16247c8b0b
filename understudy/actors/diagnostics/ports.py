"""What the checks ask of the storage. Every method may raise `StoreUnavailable`."""

from datetime import datetime
from typing import Protocol

from understudy.storage.oversight import Backlog
from understudy.storage.records import AuditVerdict, DiagnosticRun


class Reachable(Protocol):
    """Something that can be asked whether it answers."""

    async def ping(self, timeout: float = 2.0) -> object:
        """Return when the database answered; raises `StorageError` when it has not within *timeout* seconds."""
        ...


class Searchable(Protocol):
    """The search index."""

    async def search(self) -> None:
        """Return when a full-text query was answered."""
        ...


class Versioned(Protocol):
    """Something with a version."""

    async def version(self) -> str:
        """The name and version of the server, such as ``PostgreSQL 18.0``."""
        ...


class Engine(Reachable, Searchable, Versioned, Protocol):
    """What the health report looks at."""


class DatabaseProbe(Engine, Protocol):
    """What the full run looks at besides."""

    async def vectors(self) -> str | None:
        """The version of the extension that compares vectors; None without it."""
        ...

    async def write(self) -> None:
        """Return when a row was written and taken back."""
        ...

    async def clock(self) -> datetime:
        """The server's wall clock."""
        ...

    async def migrations(self) -> tuple[int, int]:
        """The number of the newest migration that was applied, and of the newest that this version knows."""
        ...


class Counted(Protocol):
    """What waits and what is late, in the database."""

    async def backlog(self, now: datetime) -> Backlog:
        """How far behind everything is."""
        ...

    async def guarded(self) -> bool:
        """Whether PostgreSQL limits statements made for tenants to their rows."""
        ...

    async def drift(self) -> int:
        """How many of a sample of messages are not found by their words any more."""
        ...


class AuditChain(Protocol):
    """The hash-chained audit log."""

    async def verify(self) -> AuditVerdict:
        """Check every link."""
        ...


class Runs(Protocol):
    """The stored runs."""

    async def add(self, run: DiagnosticRun) -> None:
        """Store a run."""
        ...

    async def last(self, limit: int = ...) -> tuple[DiagnosticRun, ...]:
        """The newest runs, newest first."""
        ...
