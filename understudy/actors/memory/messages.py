"""What can be asked of `memory`."""

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import attrs

from understudy.actors.audit.messages import Author
from understudy.runtime import Ask
from understudy.storage.records import MemoryCategory as MemoryCategory
from understudy.storage.records import MemoryTier as MemoryTier

MEMORY = "memory"

LONGEST_ENTRY = 2000
"""Characters of an entry or a note."""
LONGEST_QUERY = 500
MOST_RESULTS = 50
MOST_NOTES = 200
MOST_A_DAY = 200
"""Entries of one person in one workspace on one day."""
MOST_DAYS = 90
PROPAGATED = "memory.propagated"
"""The fact that something was shared with a workspace."""
MOST_SHARED = 5000
"""Entries that a workspace shares."""
ALL_TIERS = frozenset(MemoryTier)


class WorkspaceType(StrEnum):
    """What an entry is that a workspace shares."""

    DECISION = "decision"
    ADR = "adr"
    STANDUP = "standup"
    RETROSPECTIVE = "retrospective"
    INCIDENT = "incident"
    NOTE = "note"


@attrs.frozen
class Owner(Author):
    """Whose memory, in which workspace; in which request or on behalf of which agent, for the audit log.

    Whoever asks has checked that they may.
    """

    agent_id: str | None = None
    session_id: str | None = None


@attrs.frozen
class ProfileView:
    """What is known of a person; empty, and of no time, when nothing is."""

    content: Mapping[str, Any]
    updated_at: datetime | None = None


@attrs.frozen
class EntryView:
    """One entry; ``weight`` is what it weighs by now."""

    id: str
    tier: MemoryTier
    day: date
    category: str
    content: str
    created_at: datetime
    weight: float


@attrs.frozen
class Day:
    """The entries of one day, in the order in which they were written."""

    day: date
    entries: tuple[EntryView, ...]


@attrs.frozen
class FoundEntry:
    """An entry that was found, how well it fits from 0 to 1, and by what: ``bm25`` (words), ``vector``, ``graph``."""

    entry: EntryView
    score: float
    sources: tuple[str, ...]


@attrs.frozen
class Findings:
    """What was found, best first.

    ``embedder`` made the vectors; None when there were none to compare: the database cannot, or the embedder failed.
    ``boost`` is what the question was taken for, and so which tiers counted for more.
    """

    results: tuple[FoundEntry, ...]
    embedder: str | None
    boost: str = "general"


@attrs.frozen
class GetProfile(Ask[ProfileView]):
    """What is known of the person."""

    owner: Owner


@attrs.frozen
class UpdateProfile(Ask[ProfileView]):
    """Change the profile, which is then answered whole: merged (RFC 7396), or the named top-level keys replaced.

    Refused with `Invalid` (too deep) and `TooLarge`.
    """

    owner: Owner
    patch: Mapping[str, Any]
    merge: bool


@attrs.frozen
class ListDays(Ask[tuple[Day, ...]]):
    """The days with entries among the last ``days``, today's included; newest first."""

    owner: Owner
    days: int


@attrs.frozen
class GetDay(Ask[Day]):
    """One day, perhaps without entries."""

    owner: Owner
    day: date


@attrs.frozen
class Remember(Ask[EntryView]):
    """Write an entry for today (in UTC), found for ``ttl_days`` or for ever.

    Refused with `Invalid`; with `Conflict` when the day has its 200.
    """

    owner: Owner
    content: str
    category: MemoryCategory = MemoryCategory.NOTE
    ttl_days: int | None = None


@attrs.frozen
class ForgetEntry(Ask[Day]):
    """Delete a day's entry, by its place from 0 on or its id; the day without it. Refused with `NotFound`.

    ``expected`` are the ids that the day had when the caller looked: `PreconditionFailed` when it has others by now.
    """

    owner: Owner
    day: date
    which: int | str
    expected: tuple[str, ...] | None = None


@attrs.frozen
class Forget(Ask[None]):
    """Delete an entry of the person's by its id, of whichever tier. Refused with `NotFound`."""

    owner: Owner
    entry_id: str


@attrs.frozen
class ListNotes(Ask[tuple[EntryView, ...]]):
    """The notes, in the order in which they were written."""

    owner: Owner


@attrs.frozen
class AddNote(Ask[tuple[EntryView, ...]]):
    """Write a note; all of them, it being the last. Refused with `Invalid`; with `Conflict` when there are 200."""

    owner: Owner
    content: str


@attrs.frozen
class ForgetNote(Ask[tuple[EntryView, ...]]):
    """Delete a note; those left. As `ForgetEntry` otherwise."""

    owner: Owner
    which: int | str
    expected: tuple[str, ...] | None = None


@attrs.frozen
class SearchMemory(Ask[Findings]):
    """What was remembered of something, in these tiers, with a score of ``least`` at least.

    ``for_model``: what has faded is left out, and so are the messages of the session that ``owner`` names; what is
    found in the graph and among procedures grows stronger for it, and the question's kind is taken into account.
    """

    owner: Owner
    query: str
    top_k: int = 10
    for_model: bool = False
    tiers: frozenset[MemoryTier] = ALL_TIERS
    least: float = 0.0


@attrs.frozen
class Share(Ask[EntryView]):
    """Write an entry for everybody in the workspace.

    Refused with `Invalid`; with `Conflict` when the workspace has its 5,000.
    """

    owner: Owner
    content: str
    type: WorkspaceType = WorkspaceType.NOTE
