"""Jobs and their schedule, in memory."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import attrs

from understudy.storage.errors import StoreConflict
from understudy.storage.job import Job, JobError, JobFilter, JobStatus, Told
from understudy.storage.memory.tables import Claim, Tables
from understudy.storage.records import AuditEntry, Json

_UNFINISHED = {JobStatus.PENDING, JobStatus.RUNNING}


class MemoryJobs:
    """See `understudy.storage.jobs.JobRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, job: Job, audit: AuditEntry | None = None, *, most: int | None = None) -> Job:
        """As the real one."""
        self._tables.check()
        if known := self._tables.jobs.get(job.id):
            return known
        unfinished = [x for x in self._tables.jobs.values() if x.status in _UNFINISHED]
        same = [x for x in unfinished if _owner(x) == _owner(job)]
        if job.workspace_id is not None and most is not None and len(same) >= most:
            raise StoreConflict("number of jobs")
        there = insert(self._tables, job)
        if there is job and audit is not None:
            self._tables.append_audit(audit)
        return there

    async def find(self, workspace_id: str, job_id: str) -> Job | None:
        """As the real one."""
        self._tables.check()
        job = self._tables.jobs.get(job_id)
        return job if job is not None and _owner(job) == workspace_id else None

    async def list(self, asked: JobFilter) -> tuple[tuple[Job, ...], int]:
        """As the real one."""
        self._tables.check()
        found = [
            attrs.evolve(job, payload={}, result=None)
            for job in self._tables.jobs.values()
            if _owner(job) == asked.workspace_id
            and asked.status in {None, job.status}
            and asked.type in {None, job.type}
            and (job.is_dead or not asked.dead)
        ]
        found.sort(key=lambda job: (-job.created_at.timestamp(), job.id))
        return tuple(found[asked.offset : asked.offset + asked.limit]), len(found)

    async def cancel(
        self, workspace_id: str, job_id: str, audit: AuditEntry, *, now: datetime, force: bool = False
    ) -> tuple[Job, bool] | None:
        """As the real one."""
        job = await self.find(workspace_id, job_id)
        if job is None:
            return None
        if job.status not in (_UNFINISHED if force else {JobStatus.PENDING}):
            return job, any(line.entry.id == audit.id for line in self._tables.audit)
        self._tables.claims.pop(job.id, None)
        cancelled = attrs.evolve(job, status=JobStatus.CANCELLED, token=job.token + 1, finished_at=now)
        self._tables.jobs[job.id] = cancelled
        self._tables.append_audit(audit)
        return cancelled, True

    async def prune(self, before: datetime, *, internal: datetime | None = None, limit: int = 1000) -> int:
        """As the real one."""
        self._tables.check()
        jobs = self._tables.jobs.values()
        limits = {False: before, True: internal or before}
        old = [job for job in jobs if job.finished_at is not None and job.finished_at < limits[job.internal]]
        for job in sorted(old, key=lambda job: job.finished_at or before)[:limit]:
            del self._tables.jobs[job.id]
        return min(len(old), limit)


class MemoryClaims:
    """See `understudy.storage.claims.ClaimRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def claim(
        self, worker: str, *, limit: int, per_workspace: int, now: datetime, lease: timedelta
    ) -> tuple[Job, ...]:
        """As the real one."""
        self._tables.check()
        busy = Counter(_owner(self._tables.jobs[job_id]) for job_id in self._tables.claims)
        due = [job for job in self._tables.jobs.values() if job.status is JobStatus.PENDING and job.run_at <= now]
        due.sort(key=lambda job: (_owner(job), *_turn(job)))
        places: list[tuple[int, datetime, str]] = []
        for owner, theirs in groupby(due, key=_owner):
            share = limit if not owner else max(0, per_workspace - busy[owner])
            first = list(theirs)[:share]
            places += [(busy[owner] + n + job.internal, job.run_at, job.id) for n, job in enumerate(first)]
        claimed = []
        for _, _, job_id in sorted(places)[:limit]:
            job = self._tables.jobs[job_id]
            job = attrs.evolve(
                job, status=JobStatus.RUNNING, attempts=job.attempts + 1, token=job.token + 1, started_at=now
            )
            self._tables.jobs[job_id] = job
            self._tables.claims[job_id] = Claim(worker, now + lease)
            claimed.append(job)
        return tuple(sorted(claimed, key=_turn))

    async def next_due(self, now: datetime) -> datetime | None:
        """As the real one."""
        self._tables.check()
        jobs = self._tables.jobs.values()
        return min((x.run_at for x in jobs if x.status is JobStatus.PENDING and x.run_at > now), default=None)

    async def renew(self, claims: Mapping[str, int], until: datetime) -> frozenset[str]:
        """As the real one."""
        self._tables.check()
        mine = {job_id for job_id, token in claims.items() if self._held(job_id, token) is not None}
        for job_id in mine:
            self._tables.claims[job_id] = attrs.evolve(self._tables.claims[job_id], until=until)
        return frozenset(mine)

    async def complete(self, job_id: str, token: int, result: Json | None, *, now: datetime) -> bool:
        """As the real one."""
        return self._end(job_id, token, status=JobStatus.COMPLETED, finished_at=now, result=result, error=None)

    async def fail(
        self, job_id: str, token: int, error: JobError, *, now: datetime, retry_at: datetime | None, told: Told
    ) -> bool:
        """As the real one."""
        if retry_at is not None:
            return self._end(job_id, token, status=JobStatus.PENDING, run_at=retry_at, error=error)
        held = self._held(job_id, token) is not None
        ended = self._end(job_id, token, status=JobStatus.FAILED, finished_at=now, error=error)
        if held and (fact := told(self._tables.jobs[job_id])) is not None:
            self._tables.publish(fact)
        return ended

    async def release(self, job_id: str, token: int, *, now: datetime) -> bool:
        """As the real one."""
        job = self._tables.jobs.get(job_id)
        attempts = job.attempts - 1 if job is not None else 0
        return self._end(job_id, token, status=JobStatus.PENDING, run_at=now, attempts=attempts)

    async def rescue(self, worker: str, living: Collection[str], error: JobError, *, now: datetime, told: Told) -> int:
        """As the real one."""
        self._tables.check()
        rescued = 0
        for job_id, claim in list(self._tables.claims.items()):
            if job_id in living or (claim.until > now and claim.worker != worker):
                continue
            job = self._tables.jobs[job_id]
            if claim.worker == worker and claim.until > now:
                await self.release(job_id, job.token, now=now)
            else:
                retry_at = None if job.is_last_attempt else now
                await self.fail(job_id, job.token, error, now=now, retry_at=retry_at, told=told)
            self._tables.jobs[job_id] = attrs.evolve(self._tables.jobs[job_id], token=job.token + 1)
            rescued += 1
        return rescued

    def _held(self, job_id: str, token: int) -> Job | None:
        job = self._tables.jobs.get(job_id)
        return job if job is not None and (job.status, job.token) == (JobStatus.RUNNING, token) else None

    def _end(self, job_id: str, token: int, **changes: Any) -> bool:
        self._tables.check()
        if (job := self._held(job_id, token)) is not None:
            del self._tables.claims[job_id]
            self._tables.jobs[job_id] = attrs.evolve(job, **changes)
        known = self._tables.jobs.get(job_id)
        return known is not None and known.token == token


class MemorySchedule:
    """See `understudy.storage.schedule.ScheduleRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def seen(self) -> Mapping[str, datetime]:
        """As the real one."""
        self._tables.check()
        return dict(self._tables.schedule)

    async def begin(self, name: str, due: datetime) -> None:
        """As the real one."""
        self._tables.check()
        self._tables.schedule.setdefault(name, due)

    async def enqueue(self, name: str, due: datetime, job: Job) -> bool:
        """As the real one."""
        self._tables.check()
        seen = self._tables.schedule.get(name)
        if seen is not None and seen >= due:
            return job.id in self._tables.jobs
        self._tables.schedule[name] = due
        insert(self._tables, job)
        return True


def insert(tables: Tables, job: Job) -> Job:
    """Add the job, unless an unfinished one has its dedupe key: the one that is there."""
    for known in tables.jobs.values():
        same = (_owner(known), known.type, known.dedupe_key) == (_owner(job), job.type, job.dedupe_key)
        if job.dedupe_key is not None and same and known.status in _UNFINISHED:
            return known
    return tables.jobs.setdefault(job.id, job)


def _owner(job: Job) -> str:
    return f"{job.workspace_id or ''}{' internal' if job.internal and job.workspace_id else ''}"


def _turn(job: Job) -> tuple[int, datetime, str]:
    return -job.priority, job.run_at, job.id
