"""What kind of question it is, by phrases and no model, and which tiers count for more in answering it."""

import re
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from understudy.actors.memory.ranking import EVEN
from understudy.storage.records import MemoryTier

LONGEST_READ = 2000
"""Characters of a question that are looked at: the time that it takes is bounded by them."""


@attrs.frozen
class Boost:
    """A kind of question: its name, the phrases that give it away, and what each tier counts (1 unless named)."""

    name: str
    triggers: re.Pattern[str]
    weights: Mapping[MemoryTier, float]


def _boost(name: str, phrases: tuple[str, ...], *, session: float, graph: float, workspace: float) -> Boost:
    weights = {MemoryTier.SESSION: session, MemoryTier.GRAPH: graph, MemoryTier.WORKSPACE: workspace}
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, phrases)) + r")\b", re.IGNORECASE)
    return Boost(name, pattern, MappingProxyType(weights))


GENERAL = Boost("general", re.compile(r"(?!)"), EVEN)

BOOSTS = (
    _boost(
        "debugging",
        (
            "error", "exception", "traceback", "stack trace", "crash", "crashes", "bug", "debug", "broken", "fails",
            "failing", "does not work", "doesn't work", "not working", "why does it", "fix",
        ),
        session=2.0,
        graph=0.7,
        workspace=1.2,
    ),
    _boost(
        "research",
        (
            "research", "find out", "look into", "investigate", "background on", "overview of", "literature",
            "what is known about", "tell me about", "how does", "related to", "sources",
        ),
        session=0.8,
        graph=1.8,
        workspace=1.0,
    ),
    _boost(
        "debate",
        (
            "argue", "debate", "pros and cons", "for and against", "on the other hand", "counterargument", "disagree",
            "versus", "compare", "which is better", "devil's advocate", "should we",
        ),
        session=0.9,
        graph=1.5,
        workspace=1.0,
    ),
)  # fmt: skip


def boost_for(question: str) -> Boost:
    """The kind with the most phrases in *question*, the first of several; `GENERAL` when none has any."""
    read = question[:LONGEST_READ]
    counts = [(len(boost.triggers.findall(read)), boost) for boost in BOOSTS]
    most, best = max(counts, key=lambda counted: counted[0])
    return best if most else GENERAL
