"""Finding what is remembered: what each search found, as one list."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import attrs

from understudy.actors.memory.boosting import GENERAL, Boost, boost_for
from understudy.actors.memory.messages import Owner, SearchMemory
from understudy.actors.memory.ports import MemoryKeeper, Strengthening
from understudy.actors.memory.ranking import (
    GRAPH,
    LEAST_WEIGHT,
    STALE,
    VECTOR,
    WORDS,
    Ranked,
    faded_before,
    fuse,
    weight_at,
)
from understudy.actors.memory.vectors import Vectors
from understudy.storage.errors import StoreUnavailable
from understudy.storage.records import MemoryTier
from understudy.storage.remembered import Scope

CANDIDATES = 50
"""How many entries each kind of search may find before they are fused."""


@attrs.frozen
class Found:
    """What was found, as of when, by vectors too or not, and what the question was taken for."""

    ranked: tuple[Ranked, ...]
    at: datetime
    by_vectors: bool
    boost: Boost


class Finder:
    """Searches *store*, with vectors of *vectors*."""

    def __init__(self, store: MemoryKeeper, vectors: Vectors, now: Callable[[], datetime]) -> None:
        self._store = store
        self._vectors = vectors
        self._now = now

    async def find(self, message: SearchMemory) -> Found:
        """The best of what fits. Raises `StoreUnavailable`; without an embedder it finds by words alone."""
        now = self._now()
        made = await self._vectors.of(message.query)
        scope = Scope(
            message.owner.workspace_id,
            message.owner.uid,
            now,
            message.tiers,
            faded=faded_before(now) if message.for_model else None,
            besides=message.owner.session_id if message.for_model else None,
        )
        hits = await self._store.search(
            scope,
            text=message.query,
            embedder=self._vectors.name,
            embedding=made[0] if made is not None else (),
            limit=CANDIDATES,
            least=self._vectors.least,
            stale=STALE,
        )
        found = {WORDS: hits.by_words}
        by_vectors = made is not None and hits.by_vector is not None
        if hits.by_vector is not None and by_vectors:
            found[VECTOR] = hits.by_vector
        if hits.by_graph:
            found[GRAPH] = hits.by_graph
        boost = boost_for(message.query) if message.for_model else GENERAL
        ranked = (
            each
            for each in fuse(found, hits.said, boost.weights)
            if each.score >= message.least
            and not (
                message.for_model and each.entry.tier is MemoryTier.DAILY and weight_at(each.entry, now) < LEAST_WEIGHT
            )
        )
        return Found(tuple(ranked)[: message.top_k], now, by_vectors, boost)


async def strengthen(strength: Strengthening, owner: Owner, used: list[str], now: datetime) -> None:
    """Beside the answer, which does not wait for it."""
    with suppress(StoreUnavailable):  # used once more or less: nobody is told
        await strength.touch(owner.workspace_id, owner.uid, used, now=now)
