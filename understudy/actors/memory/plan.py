"""All that a node needs to remember, put together once: where vectors come from, the jobs, who is told of turns."""

from typing import Protocol

import attrs

from understudy.actors.asking import Asker
from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.purse import Purse
from understudy.actors.jobs.kinds import JobKind, Scheduled
from understudy.actors.memory.extraction import Extraction, Knowledge, Turns, extraction_consumer
from understudy.actors.memory.flush import Conversations, Flush, Notebook, flush_consumer
from understudy.actors.memory.jobs import MEMORY_SCHEDULE, Entries, Index, Upkeep, memory_job_kinds
from understudy.actors.memory.listener import Listener
from understudy.actors.memory.vectors import Embedder, Kept, Vectors
from understudy.actors.session.ports import ModelStreams
from understudy.actors.store.outbox import Consumer

MODEL, RULES, OFF = "model", "rules", "off"
"""How it is found out what of a turn is worth remembering."""


class _Learned(Knowledge, Notebook, Upkeep, Protocol):
    """What is known."""


class _Said(Turns, Conversations, Protocol):
    """What was said."""


class _Vectors(Index, Kept, Protocol):
    """The vectors of all entries, and those that were paid for."""


class MemoryStores(Protocol):
    """The repositories that memory works on."""

    @property
    def memories(self) -> Entries:
        """Entries."""
        ...

    @property
    def knowledge(self) -> _Learned:
        """What is known."""
        ...

    @property
    def memory_index(self) -> _Vectors:
        """Vectors."""
        ...

    @property
    def sessions(self) -> _Said:
        """What was said."""
        ...


@attrs.frozen
class MemoryPlan:
    """Where vectors come from, the types of jobs, which are due when, and who is told of turns."""

    vectors: Vectors
    kinds: tuple[JobKind, ...]
    scheduled: tuple[Scheduled, ...]
    consumers: tuple[Consumer, ...]


def memory_plan(
    system: Asker,
    stores: MemoryStores,
    models: ModelStreams,
    prices: PriceBook,
    *,
    embedder: Embedder | None = None,
    extraction: str = MODEL,
    purse: Purse | None = None,
) -> MemoryPlan:
    """The plan of a node. Without *embedder* it is the built-in one; with *extraction* `OFF` turns teach nothing.

    What an embedder makes is kept, except the built-in one's: that is made again sooner than read. What
    models are asked counts against allowances with a *purse*.
    """
    vectors = Vectors(embedder, stores.memory_index if embedder is not None else None)
    learning: Extraction | None = None
    flush: Flush | None = None
    consumers: tuple[Consumer, ...] = ()
    if extraction != OFF:
        listener = Listener(models, by_rules=extraction == RULES)
        learning = Extraction(system, stores.sessions, stores.knowledge, listener, vectors, prices, purse)
        consumers = (extraction_consumer(system, stores.sessions, listener), flush_consumer(system))
        flush = Flush(system, stores.sessions, stores.knowledge, models, vectors, prices, purse)
    kinds = memory_job_kinds(stores.memories, stores.knowledge, stores.memory_index, vectors, learning, flush)
    return MemoryPlan(vectors, kinds, MEMORY_SCHEDULE, consumers)
