"""What is remembered, and what a search finds of it."""

from datetime import date, datetime
from enum import StrEnum

import attrs

from understudy.storage.records.values import Json


class MemoryTier(StrEnum):
    """Which part of memory an entry is of. What was said in sessions is found with entries, and is none of them."""

    DAILY = "daily"
    NOTES = "notes"
    GRAPH = "graph"
    PROCEDURAL = "procedural"
    WORKSPACE = "workspace"
    SESSION = "session"


class MemoryCategory(StrEnum):
    """What an entry is about."""

    DECISION = "decision"
    OUTCOME = "outcome"
    STRATEGY = "strategy"
    NOTE = "note"
    INTERACTION = "interaction"


@attrs.frozen
class Profile:
    """What is known of a person, whichever workspace they are in."""

    content: Json
    updated_at: datetime


@attrs.frozen
class MemoryEntry:
    """Something to remember, of one person in one workspace. ``weight`` is as it was written: it fades when read.

    ``category`` is a `MemoryCategory`, or a word of the entry's tier. ``embedding`` was made by ``embedder``; entries
    are read without it. What has expired is not found. ``touched_at`` is when the entry was used last.
    """

    id: str
    workspace_id: str
    uid: str
    tier: MemoryTier
    day: date
    category: str
    content: str
    created_at: datetime
    weight: float = 1.0
    embedder: str = ""
    embedding: tuple[float, ...] = ()
    expires_at: datetime | None = None
    touched_at: datetime | None = None


@attrs.frozen
class MemoryHits:
    """What a search found, best first: by its words and, where the server can compare vectors, by likeness.

    ``by_graph`` is what is near, in the graph, to what was found otherwise; ``said`` is what was said in sessions.
    """

    by_words: tuple[MemoryEntry, ...]
    by_vector: tuple[MemoryEntry, ...] | None = None
    by_graph: tuple[MemoryEntry, ...] = ()
    said: tuple[MemoryEntry, ...] = ()


@attrs.frozen
class Shelf:
    """Whose entries, and which: of one tier in the order they were written; a daily shelf is of one ``day``."""

    workspace_id: str
    uid: str
    tier: MemoryTier
    day: date | None = None
