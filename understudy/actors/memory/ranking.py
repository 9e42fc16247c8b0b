"""How what was found is put in order, and how what was written fades."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

import attrs

from understudy.storage.records import MemoryEntry, MemoryTier

K = 60
"""The constant of reciprocal rank fusion (Cormack et al. 2009)."""

FRESH = timedelta(days=7)
DECAY_PER_DAY = 0.12
LEAST_WEIGHT = 0.2
"""Below it, a daily entry is not told to a model."""
STALE = 0.97
"""What is left of a thing's strength, in the graph and among procedures, after a day without use."""

WORDS, VECTOR, GRAPH = "bm25", "vector", "graph"
"""The names of the sources."""

EVEN: Mapping[MemoryTier, float] = MappingProxyType({})
_FADING = frozenset({MemoryTier.GRAPH, MemoryTier.PROCEDURAL})


@attrs.frozen
class Ranked:
    """An entry, how well it fits from 0 to 1, and which searches found it."""

    entry: MemoryEntry
    score: float
    sources: tuple[str, ...]


def fuse(
    found: Mapping[str, Sequence[MemoryEntry]],
    said: Sequence[MemoryEntry] = (),
    weights: Mapping[MemoryTier, float] = EVEN,
) -> list[Ranked]:
    """The entries that each source found, best first, as one list: best first, the newer one when two are equal.

    Each source gives an entry ``1 / (60 + rank)``, times the weight of its tier. 1 is the score of what every source
    put first that could: of what was *said* only the words are looked at, and the graph is but a bonus. An entry is
    there once, and so is a text that several entries have.
    """
    sources = {WORDS: said} if said else {}
    points: dict[str, float] = {}
    names: dict[str, list[str]] = {}
    entries: dict[str, MemoryEntry] = {}
    for source, ranked in [*found.items(), *sources.items()]:
        for rank, entry in enumerate(ranked, start=1):
            points[entry.id] = points.get(entry.id, 0.0) + weights.get(entry.tier, 1.0) / (K + rank)
            names.setdefault(entry.id, []).append(source)
            entries[entry.id] = entry
    most = max(1, len(found.keys() - {GRAPH})) / (K + 1)
    alone = 1 / (K + 1)

    def score(entry: MemoryEntry) -> float:
        return points[entry.id] / (alone if entry.tier is MemoryTier.SESSION else most)

    best: dict[str, MemoryEntry] = {}
    for entry in sorted(entries.values(), key=lambda entry: (score(entry), entry.created_at), reverse=True):
        best.setdefault(entry.content, entry)
    return [Ranked(entry, min(1.0, round(score(entry), 4)), tuple(names[entry.id])) for entry in best.values()]


def weight_at(entry: MemoryEntry, now: datetime) -> float:
    """What the entry weighs by now.

    Daily ones lose 0.12 for each day that they are older than seven, down to 0; the graph and procedures are down to
    97 % after each day without use; others stay what they are.
    """
    if entry.tier in _FADING:
        idle = max(timedelta(), now - (entry.touched_at or entry.created_at)) / timedelta(days=1)
        return float(round(entry.weight * STALE**idle, 4))
    if entry.tier is not MemoryTier.DAILY:
        return entry.weight
    faded = DECAY_PER_DAY * max(timedelta(), now - entry.created_at - FRESH) / timedelta(days=1)
    return round(max(0.0, entry.weight - faded), 2)


def faded_before(now: datetime) -> datetime:
    """Daily entries written before this moment weigh too little, whatever they weighed at first."""
    return now - FRESH - timedelta(days=(1 - LEAST_WEIGHT) / DECAY_PER_DAY)
