"""The JSON of `/agent/memory`."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from understudy.actors.memory.messages import (
    LONGEST_ENTRY,
    LONGEST_QUERY,
    MOST_DAYS,
    MOST_RESULTS,
    MemoryCategory,
    MemoryTier,
)
from understudy.http.schemas import Wire

Note = Annotated[str, Meta(min_length=1, max_length=LONGEST_ENTRY)]


class NewNote(Wire, frozen=True):
    """A note, as ``note`` or as ``content``."""

    note: Note | None = None
    content: Note | None = None


class DaysQuery(Wire, frozen=True):
    """How many days, today's included."""

    days: Annotated[int, Meta(ge=1, le=MOST_DAYS)] = 7


class SearchQuery(Wire, frozen=True):
    """What to look for, and how much to answer at most."""

    q: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY)]
    top_k: Annotated[int, Meta(ge=1, le=MOST_RESULTS)] = 10


class ProfileReply(Wire, frozen=True):
    """What is known of the caller."""

    profile: dict[str, Any]
    updated_at: datetime | None


class DailyEntry(Wire, frozen=True):
    """Something that was remembered on a day; ``timestamp`` in milliseconds. ``weight`` falls with age."""

    id: str
    timestamp: int
    category: MemoryCategory
    content: str
    weight: float


class DailyMemory(Wire, frozen=True):
    """A day, in UTC."""

    date: str
    entries: list[DailyEntry]


class DailyReply(Wire, frozen=True):
    """The days that have entries, newest first."""

    days: list[DailyMemory]


class EntryDeleted(Wire, frozen=True):
    """How many entries the day has left."""

    deleted: bool
    remaining: int


class NoteEntry(Wire, frozen=True):
    """A note."""

    id: str
    note: str
    created_at: datetime


class NoteAdded(Wire, frozen=True):
    """The note, its place, and all notes."""

    index: int
    note: str
    notes: list[NoteEntry]


class NoteDeleted(Wire, frozen=True):
    """The notes that are left."""

    deleted: bool
    notes: list[NoteEntry]


class MemoryResult(Wire, frozen=True):
    """Something that was found: ``score`` from 0 to 1, ``sources`` what found it.

    They are ``bm25`` (words), ``vector`` and ``graph``. ``category`` is a word of the tier.
    """

    tier: MemoryTier
    id: str
    content: str
    score: float
    sources: list[str]
    date: str
    category: str
    weight: float


class SearchReply(Wire, frozen=True):
    """What was found, best first. ``embedder`` made the vectors; null when the database can compare none."""

    query: str
    top_k: int
    embedder: str | None
    results: list[MemoryResult]
