"""What jobs need of storage."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from understudy.actors.lease import Leases
from understudy.storage.job import Job, JobError, JobFilter, Told
from understudy.storage.records import AuditEntry, Json


class JobBook(Protocol):
    """The jobs of workspaces. Each may raise `StoreUnavailable`."""

    async def add(self, job: Job, audit: AuditEntry | None = None, *, most: int | None = None) -> Job:
        """Store a job; the job that there is then. Raises `StoreConflict` (``number of jobs``)."""
        ...

    async def find(self, workspace_id: str, job_id: str) -> Job | None:
        """The workspace's job of this id."""
        ...

    async def list(self, asked: JobFilter) -> tuple[tuple[Job, ...], int]:
        """The jobs asked for, newest first, without payloads and results; and how many there are without a limit."""
        ...

    async def cancel(
        self, workspace_id: str, job_id: str, audit: AuditEntry, *, now: datetime, force: bool = False
    ) -> tuple[Job, bool] | None:
        """Cancel a job that waits, or with *force* runs; the job, and whether this cancelled it."""
        ...


class JobClaims(Leases, Protocol):
    """The queue, from the worker's side. Each may raise `StoreUnavailable`.

    What ends an attempt is answered with False when the job has changed hands since it was claimed.
    """

    async def claim(
        self, worker: str, *, limit: int, per_workspace: int, now: datetime, lease: timedelta
    ) -> tuple[Job, ...]:
        """Take at most *limit* jobs that are due, leaving each workspace with no more than its share running."""
        ...

    async def next_due(self, now: datetime) -> datetime | None:
        """When the first of those is due that cannot be claimed yet."""
        ...

    async def complete(self, job_id: str, token: int, result: Json | None, *, now: datetime) -> bool:
        """The attempt went well. Raises `Unstorable`."""
        ...

    async def fail(
        self, job_id: str, token: int, error: JobError, *, now: datetime, retry_at: datetime | None, told: Told
    ) -> bool:
        """The attempt failed; the next is at *retry_at*, or there is none, which *told* makes a fact of."""
        ...

    async def release(self, job_id: str, token: int, *, now: datetime) -> bool:
        """The attempt was none."""
        ...

    async def rescue(self, worker: str, living: Collection[str], error: JobError, *, now: datetime, told: Told) -> int:
        """Let jobs wait again that nobody does any more; how many."""
        ...


class DueTimes(Protocol):
    """Which due times of the schedule were seen to. Each may raise `StoreUnavailable`."""

    async def seen(self) -> Mapping[str, datetime]:
        """The latest of each name."""
        ...

    async def begin(self, name: str, due: datetime) -> None:
        """Let a name count from this due time on, unless it does already."""
        ...

    async def enqueue(self, name: str, due: datetime, job: Job) -> bool:
        """Put the job of a due time on the queue, unless that was done; whether it was here."""
        ...
