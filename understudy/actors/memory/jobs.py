"""The jobs of memory: learning from turns, and the upkeep of what is remembered.

What an entry weighs is computed when it is read and never written, so no job lowers weights: the nightly ones let go
of what weighs nothing any more.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Protocol

from understudy.actors.jobs.kinds import JobFailed, JobKind, JobResult, JobRun, Scheduled
from understudy.actors.jobs.payloads import Fields, fits
from understudy.actors.memory.extraction import Extraction
from understudy.actors.memory.flush import Flush
from understudy.actors.memory.lessons import sift
from understudy.actors.memory.vectors import Vectors
from understudy.storage.remembered import Sift, Vector

CONSOLIDATE, DECAY, GRAPH_DECAY, REINDEX = (
    "memory.consolidate",
    "memory.decay",
    "memory.graph_decay",
    "memory.reindex",
)
THINNED = timedelta(days=2)
"""How far back the days are that are thinned out."""
UNUSED = timedelta(days=90)
"""After so long without use a kept vector is let go of."""
BATCH = 50
"""Texts that an embedder is given at a time."""
PATIENCE = 60.0


class Nothing(Fields, frozen=True):
    """A payload that says nothing."""


class Entries(Protocol):
    """Entries of everybody; see `storage.memories`."""

    async def expire(self, now: datetime, *, limit: int = 1000) -> int:
        """Delete what has expired, at most *limit*; how many."""
        ...


class Upkeep(Protocol):
    """What is known, of everybody; see `storage.knowledge`."""

    async def active(
        self, since: datetime, *, after: tuple[str, str, date] | None = None, limit: int = 1000
    ) -> tuple[tuple[str, str, date], ...]:
        """Who had something written on which day: workspace, person, day; those behind *after*, in order."""
        ...

    async def thin_out(self, workspace_id: str, uid: str, day: date, sift: Sift) -> int:
        """Delete of a day what says the same as an earlier entry; how many."""
        ...

    async def let_go(self, now: datetime) -> tuple[int, int]:
        """Delete what is too weak: how many edges and things."""
        ...


class Index(Protocol):
    """Vectors of everybody; see `storage.memory_index`."""

    async def forget(self, before: datetime) -> int:
        """Let go of kept vectors that were not used since; how many."""
        ...

    async def outdated(
        self, embedder: str, *, limit: int, of: tuple[str, str] | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Ids and texts whose vectors another embedder made; with *of*, of this workspace and person alone."""
        ...

    async def renew(self, embedder: str, vectors: Mapping[str, tuple[str, Vector]]) -> int:
        """Give entries new vectors; how many."""
        ...


def memory_job_kinds(
    entries: Entries,
    upkeep: Upkeep,
    index: Index,
    vectors: Vectors,
    extraction: Extraction | None = None,
    flush: Flush | None = None,
) -> tuple[JobKind, ...]:
    """The types of jobs; without *extraction* nothing is learned from turns, without *flush* nothing from summaries.

    ``memory.consolidate`` and ``memory.reindex`` are done for everybody when the node asks for them, and for whoever
    else asks, for them alone.
    """

    async def consolidate(run: JobRun) -> JobResult:
        if (asker := _asker(run)) is not None:
            today = run.now().date()
            days = [today - timedelta(days=back) for back in range(THINNED.days + 1)]
            return {"deleted": sum([await upkeep.thin_out(*asker, day, sift) for day in days])}
        thinned, since = 0, run.now() - THINNED
        page = await upkeep.active(since)
        while page:
            for workspace_id, uid, day in page:
                thinned += await upkeep.thin_out(workspace_id, uid, day, sift)
            page = await upkeep.active(since, after=page[-1])
        return {"deleted": thinned}

    async def decay(run: JobRun) -> JobResult:
        expired = 0
        while gone := await entries.expire(run.now()):
            expired += gone
        return {"expired": expired, "vectors": await index.forget(run.now() - UNUSED)}

    async def graph_decay(run: JobRun) -> JobResult:
        edges, things = await upkeep.let_go(run.now())
        return {"edges": edges, "entities": things}

    async def reindex(run: JobRun) -> JobResult:
        renewed, asker = 0, _asker(run)
        while old := await index.outdated(vectors.name, limit=BATCH, of=asker):
            made = await vectors.of(*(text for _, text in old), patience=PATIENCE)
            if made is None:
                raise JobFailed(f"{vectors.name} failed: {vectors.failure}", retryable=True)
            given = {id_: (text, vector) for (id_, text), vector in zip(old, made, strict=True)}
            renewed += await index.renew(vectors.name, given)
        return {"embedder": vectors.name, "renewed": renewed}

    kinds = (
        JobKind(CONSOLIDATE, consolidate, fits(Nothing), public=True),
        JobKind(DECAY, decay),
        JobKind(GRAPH_DECAY, graph_decay),
        JobKind(REINDEX, reindex, fits(Nothing), public=True),
    )
    return (*kinds, *(each.kind() for each in (extraction, flush) if each is not None))


def _asker(run: JobRun) -> tuple[str, str] | None:
    """The workspace and the person for whom it is done; None for the node's own, which is for everybody."""
    job = run.job
    return (job.workspace_id, job.uid) if job.workspace_id is not None and job.uid is not None else None


MEMORY_SCHEDULE = (
    Scheduled(CONSOLIDATE, CONSOLIDATE, at=time(4, 0)),
    Scheduled(DECAY, DECAY, at=time(4, 15)),
    Scheduled(GRAPH_DECAY, GRAPH_DECAY, at=time(4, 30), weekday=6),
    Scheduled(REINDEX, REINDEX, every=timedelta(hours=1)),
)
