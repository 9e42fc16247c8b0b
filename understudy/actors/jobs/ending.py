"""How an attempt at a job ended, and what is written of it."""

from datetime import timedelta
from typing import TypeAlias

import attrs

from understudy.actors.errors import (
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    TooLarge,
    TurnCancelled,
    Unauthenticated,
)
from understudy.actors.facts import fact
from understudy.actors.jobs.kinds import JobFailed, JobResult
from understudy.actors.jobs.services import JobServices
from understudy.backoff import Backoff
from understudy.storage.entries import Published
from understudy.storage.job import Job, JobError

FACT = "job.failed"
"""Told of a job that was given up."""

RETRIES = Backoff(base=5.0, limit=600.0, jitter=1.0)
"""Full jitter: jobs that failed together do not come back together."""

LONGEST_MESSAGE = 1000

LOST = JobError("LEASE_LOST", "whoever did it was not heard of any more; perhaps the server was killed")

_FINAL = (Invalid, Unauthenticated, Forbidden, NotFound, PreconditionFailed, TooLarge, TurnCancelled)
"""Refusals that another attempt would meet again."""


@attrs.frozen
class Done:
    """It went well."""

    result: JobResult = None


@attrs.frozen
class Failed:
    """It went wrong. ``wait``: seconds before which another attempt is of no use."""

    error: JobError
    wait: float = 0.0


@attrs.frozen
class Lost:
    """The lease ran out, or the job was taken away: whatever was done counts no more, and nothing is written."""


Ending: TypeAlias = Done | Failed | Lost


def failed(error: JobFailed | DomainError) -> Failed:
    """What an attempt that raised *error* came to."""
    if isinstance(error, JobFailed):
        return Failed(JobError(error.code, error.message, error.retryable))
    again = not isinstance(error, _FINAL)
    return Failed(JobError(error.code, error.message, again), error.retry_after or 0.0 if again else 0.0)


async def record(services: JobServices, job: Job, ending: Ending) -> bool:
    """Write how the attempt ended; False when the job has changed hands and it does not count.

    Raises `StoreUnavailable`; `Unstorable` when a result is none that can be stored. May be called again.
    """
    now = services.now()
    match ending:
        case Done(result):
            return await services.claims.complete(job.id, job.token, result, now=now)
        case Failed(error, wait):
            error = attrs.evolve(error, message=error.message.replace("\0", "\ufffd")[:LONGEST_MESSAGE])
            again = error.retryable and not job.is_last_attempt
            delay = timedelta(seconds=max(wait, RETRIES.delay(job.attempts, services.rng)))
            return await services.claims.fail(
                job.id, job.token, error, now=now, retry_at=now + delay if again else None, told=told
            )
        case Lost():
            return False


def told(job: Job) -> Published | None:
    """The fact that a job was given up. Of one that nobody asked for, nobody is told."""
    if job.internal:
        return None
    error = job.error or LOST
    return fact(
        FACT,
        uid=job.uid,
        workspace_id=job.workspace_id,
        data={
            "jobId": job.id,
            "type": job.type,
            "attempts": job.attempts,
            "code": error.code,
            "error": error.message,
        },
        at=job.finished_at or job.created_at,
        id=f"evt_{job.id}",
    )
