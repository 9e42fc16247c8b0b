"""What can be asked of the supervised parts of storage."""

from collections.abc import Sequence

import attrs

from understudy.runtime import Ask
from understudy.storage.entries import Entry
from understudy.storage.errors import StorageError

POSTGRES = "storage/postgres"
DATABASE = "storage/database"
JOURNAL = "storage/journal"
OUTBOX = "storage/outbox"
HOUSEKEEPER = "storage/housekeeper"


@attrs.frozen
class Write(Ask[StorageError | None]):
    """Commit *entries* as one group. Answered after the commit with what became of it; None is success.

    An answer rather than a refusal, because it is none of the journal's failures. Use `JournalWriter`, which asks
    again when the journal was killed meanwhile.
    """

    entries: tuple[Entry, ...]


@attrs.frozen
class WriteGroups(Ask[Sequence[StorageError | None]]):
    """Commit many groups, each whole or not at all; as `Write` otherwise. Answered with what became of each, in order.

    Ask through `JournalWriter`.
    """

    groups: Sequence[tuple[Entry, ...]]


@attrs.frozen
class Ping(Ask[float]):
    """Ask the database a trivial question; seconds it took. Refused with `Unavailable` when it does not answer."""


@attrs.frozen
class DatabaseStatus:
    """How the database was when last looked at (every second); ``error`` says why it is not up."""

    up: bool
    latency: float | None
    error: str | None
    connections: int
    waiting: int


@attrs.frozen
class Status(Ask[DatabaseStatus]):
    """Tell how the database is, without asking it."""
