"""The actor that takes jobs in, tells of them and cancels them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar

from understudy.actors.clock import utc_now
from understudy.actors.errors import Conflict, NotFound, RateLimited
from understudy.actors.jobs.checking import new_job
from understudy.actors.jobs.kinds import JobKind
from understudy.actors.jobs.messages import (
    DISPATCHER,
    JOBS,
    MOST_UNFINISHED,
    CancelJob,
    EnqueueJob,
    GetJob,
    JobPage,
    JobStatus,
    ListJobs,
    LookForJobs,
    StopJob,
    job_address,
)
from understudy.actors.jobs.ports import JobBook
from understudy.actors.made import made_id
from understudy.actors.serving import Server
from understudy.runtime import ChildSpec, Deferred, RuntimeFault, receive
from understudy.storage.errors import StoreConflict
from understudy.storage.job import Job
from understudy.storage.records import AuditEntry

_FULL_RETRY = 30.0
_STOP_BOUND = 15.0
"""Seconds for a running job to come to its end after it was cancelled."""


class JobQueue(Server):
    """Keeps nothing in memory: the database has the queue. Refusals are as in `messages`."""

    kind: ClassVar[str | None] = "queue"
    mailbox_limit: ClassVar[int] = 10_000

    def __init__(self, book: JobBook, kinds: Mapping[str, JobKind], now: Callable[[], datetime] = utc_now) -> None:
        self._book = book
        self._kinds = kinds
        self._now = now
        self._taken = self._cancelled = 0

    @receive
    def enqueue(self, message: EnqueueJob) -> Deferred[Job]:
        """Take a job in."""
        return self.answer(message, self._enqueue, message)

    @receive
    def get(self, message: GetJob) -> Deferred[Job]:
        """Tell of one job."""
        return self.answer(message, self._get, message)

    @receive
    def list_jobs(self, message: ListJobs) -> Deferred[JobPage]:
        """Tell of some jobs."""
        return self.answer(message, self._list, message)

    @receive
    def cancel(self, message: CancelJob) -> Deferred[Job]:
        """Cancel a job."""
        return self.answer(message, self._cancel, message)

    def snapshot(self) -> Mapping[str, object]:
        """Which types there are, and what came in since the start."""
        return {
            "types": sorted(self._kinds),
            "public": sorted(name for name, kind in self._kinds.items() if kind.public),
            "taken": self._taken,
            "cancelled": self._cancelled,
        }

    async def _enqueue(self, message: EnqueueJob) -> Job:
        job = new_job(message, self._kinds, self._now())
        audit = None
        if job.workspace_id is not None and not job.internal:
            audit = self._audit("job.created", job.workspace_id, job.uid, message.request_id, job.id, job.type)
        try:
            there = await self._book.add(job, audit, most=MOST_UNFINISHED)
        except StoreConflict as conflict:
            said = f"the workspace has {MOST_UNFINISHED} unfinished jobs already; wait for some to end"
            raise RateLimited(said, retry_after=_FULL_RETRY) from conflict
        if there.id == job.id:
            self._taken += 1
            self.system.tell(DISPATCHER, LookForJobs())
        return there

    async def _get(self, message: GetJob) -> Job:
        job = await self._book.find(message.workspace_id, message.job_id)
        if job is None:
            raise NotFound("there is no such job")
        return job

    async def _list(self, message: ListJobs) -> JobPage:
        return JobPage(*await self._book.list(message.filter))

    async def _cancel(self, message: CancelJob) -> Job:
        audit = self._audit(
            "job.cancelled", message.workspace_id, message.uid, message.request_id, message.job_id, None
        )
        answer = await self._book.cancel(
            message.workspace_id, message.job_id, audit, now=self._now(), force=message.force
        )
        if answer is None:
            raise NotFound("there is no such job")
        job, cancelled = answer
        if not cancelled:
            over = f"the job is {job.status.value} already"
            raise Conflict("the job is running; force=true stops it" if job.status is JobStatus.RUNNING else over)
        self._cancelled += 1
        await self._stop(job.id)
        return job

    async def _stop(self, job_id: str) -> None:
        """Have the job's actor here, if there is one, come to its end; what it still says does not count anyway."""
        address = job_address(job_id)
        if self.system.whereis(address) is not None:
            try:
                await self.system.ask(address, StopJob(), timeout=_STOP_BOUND)
            except RuntimeFault:
                return  # it ended by itself, or takes its time: its lease is void, and soon it learns so

    def _audit(
        self, event: str, workspace_id: str, uid: str | None, request_id: str | None, job_id: str, kind: str | None
    ) -> AuditEntry:
        return AuditEntry(
            made_id("aud", event),
            event,
            "info",
            self._now(),
            uid=uid,
            workspace_id=workspace_id,
            request_id=request_id,
            metadata={"jobId": job_id} | ({"type": kind} if kind is not None else {}),
        )


def queue_spec(book: JobBook, kinds: Mapping[str, JobKind], now: Callable[[], datetime] = utc_now) -> ChildSpec:
    """The child at `JOBS`."""
    return ChildSpec(JOBS.rpartition("/")[2], JobQueue, args=(book, kinds, now))
