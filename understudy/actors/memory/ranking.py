"""How what was found is put in order, and how what was written fades."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from understudy.storage.records import MemoryEntry, MemoryTier

K = 60
"""The constant of reciprocal rank fusion (Cormack et al. 2009; contract/platform.md §23.2)."""

FRESH = timedelta(days=7)
DECAY_PER_DAY = 0.12
LEAST_WEIGHT = 0.2
"""Below it, an entry is not told to a model (contract/platform.md §5.3)."""


@attrs.frozen
class Ranked:
    """An entry, how well it fits from 0 to 1, and which searches found it."""

    entry: MemoryEntry
    score: float
    sources: tuple[str, ...]


def fuse(found: Mapping[str, Sequence[MemoryEntry]]) -> list[Ranked]:
    """The entries that each source found, best first, as one list: best first, the newer one when two are equal.

    Each source gives an entry ``1 / (60 + rank)``; 1 is what an entry has that every source put first.
    """
    if not found:
        return []
    most = len(found) / (K + 1)
    points: dict[str, float] = {}
    sources: dict[str, list[str]] = {}
    entries: dict[str, MemoryEntry] = {}
    for source, ranked in found.items():
        for rank, entry in enumerate(ranked, start=1):
            points[entry.id] = points.get(entry.id, 0.0) + 1 / (K + rank)
            sources.setdefault(entry.id, []).append(source)
            entries[entry.id] = entry
    fused = [Ranked(entry, round(points[id_] / most, 4), tuple(sources[id_])) for id_, entry in entries.items()]
    return sorted(fused, key=lambda ranked: (ranked.score, ranked.entry.created_at), reverse=True)


def weight_at(entry: MemoryEntry, now: datetime) -> float:
    """What the entry weighs by now: daily ones lose 0.12 for each day that they are older than seven, down to 0."""
    if entry.tier is not MemoryTier.DAILY:
        return entry.weight
    faded = DECAY_PER_DAY * max(timedelta(), now - entry.created_at - FRESH) / timedelta(days=1)
    return round(max(0.0, entry.weight - faded), 2)


def faded_before(now: datetime) -> datetime:
    """Daily entries written before this moment weigh too little, whatever they weighed at first."""
    return now - FRESH - timedelta(days=(1 - LEAST_WEIGHT) / DECAY_PER_DAY)
