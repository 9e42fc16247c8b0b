"""The actor that does one job. It has the job's lease, and everything the job starts is linked to it."""

from collections.abc import Mapping
from typing import ClassVar

import trio

from understudy.actors.jobs.attempt import attempt
from understudy.actors.jobs.ending import Ending, Failed, record
from understudy.actors.jobs.messages import StopJob
from understudy.actors.jobs.services import JobServices
from understudy.actors.serving import refused
from understudy.runtime import Actor, ChildSpec, Exit, Restart, receive
from understudy.storage.errors import StoreUnavailable, Unstorable
from understudy.storage.job import Job, JobError

_PAUSE = 1.0
_GOODBYE = 15.0
"""Seconds for what the job started to come to its end, and for the lease to be given back."""


class JobRunner(Actor):
    """Makes one attempt, writes how it ended, and stops. A later attempt is another actor's.

    Told to stop before (the server stops), it cancels the attempt and gives the lease back: the attempt was none.
    Killed, it can do nothing any more; the dispatcher sees to the lease.
    """

    kind: ClassVar[str | None] = "job"

    def __init__(self, job: Job, services: JobServices) -> None:
        self._job = job
        self._services = services
        self._over = False

    async def started(self) -> None:
        """Begin, if the claim still counts.

        It does not for an incarnation that an operator restarted: the one before gave it back. That one starts, as the
        operator wants, and leaves at once; the job is begun anew by whoever claims it.
        """
        job, services = self._job, self._services
        self.labels = {
            "type": job.type,
            "attempt": str(job.attempts),
            **({"workspace": job.workspace_id} if job.workspace_id else {}),
            **({"uid": job.uid} if job.uid else {}),
        }
        try:
            counts = await services.claims.renew({job.id: job.token}, services.now() + services.lease)
        except StoreUnavailable as error:
            raise refused(error) from error  # no crash: it costs the supervisor nothing of its budget
        if counts:
            self.status = "running"
            self.work(self._live, name=job.type)
        else:
            self._over = True
            self.after(0.0, StopJob())

    async def stopping(self, reason: Exit) -> None:
        """Cancel what is going on and give the lease back, unless the job is over."""
        del reason
        await self.cancel_work()
        if not self._over:
            try:
                await self._services.claims.release(self._job.id, self._job.token, now=self._services.now())
            except StoreUnavailable:
                return  # the lease runs out by itself

    @receive
    async def stop_job(self, message: StopJob) -> None:
        """Cancel what is going on; answered when it has ended. Whoever asks has seen to the row."""
        del message
        self._over = True
        self.status = "stopping"
        await self.cancel_work()
        self.stop()

    def snapshot(self) -> Mapping[str, object]:
        """Which job it is; not what is in it."""
        job = self._job
        return {
            "job": job.id,
            "type": job.type,
            "attempt": job.attempts,
            "token": job.token,
            "timeout_seconds": job.timeout_seconds,
        }

    async def _live(self) -> None:
        await self._record(await attempt(self._services, self._job))
        self._over = True
        self.stop()

    async def _record(self, ending: Ending) -> None:
        """Write the end, however long that takes: should the lease run out meanwhile, it just does not count."""
        self.status = "recording"
        while True:
            try:
                await record(self._services, self._job, ending)
            except StoreUnavailable:
                await trio.sleep(_PAUSE)
            except Unstorable as error:
                ending = Failed(JobError("RESULT", f"its result cannot be stored: {error}", retryable=False))
            else:
                return


def runner_spec(job: Job, services: JobServices) -> ChildSpec:
    """The child that does *job*; for `RUNNING`. Not restarted: whether there is another attempt, the queue says."""
    return ChildSpec(
        job.id, JobRunner, args=(job, services), restart=Restart.TEMPORARY, shutdown=_GOODBYE, start_timeout=10.0
    )
