"""One attempt at a job, for as long as its lease is held."""

import logging

import msgspec
import trio

from understudy.actors.errors import DomainError
from understudy.actors.jobs.ending import Done, Ending, Failed, Lost, failed
from understudy.actors.jobs.kinds import JobFailed, JobKind, JobResult, JobRun
from understudy.actors.jobs.messages import LARGEST_PAYLOAD
from understudy.actors.jobs.services import JobServices
from understudy.actors.lease import held
from understudy.runtime import RuntimeFault
from understudy.storage.errors import StoreUnavailable
from understudy.storage.job import Job, JobError

log = logging.getLogger(__name__)


async def attempt(services: JobServices, job: Job) -> Ending:
    """Do *job* once; how it ended. Writes nothing but renewals of the lease.

    Cancelled when the lease is lost: the job may be with somebody else by then. Never raises but for cancellation.
    """
    ending: Ending = Lost()
    async with held(services.claims, {job.id: job.token}, services.lease, services.now):
        ending = await _do(services, job)
    return ending  # noqa: RET504  # or the block was cancelled


async def _do(services: JobServices, job: Job) -> Done | Failed:
    kind = services.kinds.get(job.type)
    if kind is None:
        return Failed(JobError("UNKNOWN_TYPE", f"this node knows no jobs of type {job.type}", retryable=True))
    with trio.move_on_after(job.timeout_seconds):
        return await _run(kind, JobRun(job, services.now))
    return Failed(JobError("TIMEOUT", f"it took longer than the {job.timeout_seconds} s it may take", retryable=True))


async def _run(kind: JobKind, run: JobRun) -> Done | Failed:
    try:
        return Done(_kept(await kind.run(run)))
    except (JobFailed, DomainError) as error:
        return failed(error)
    except RuntimeFault as fault:
        log.info("job %s (%s): %s", run.job.id, kind.name, fault)
        return Failed(JobError("UNAVAILABLE", "a part of the server that it needs is away", retryable=True))
    except StoreUnavailable:
        return Failed(JobError("UNAVAILABLE", "the database is away", retryable=True))
    except Exception:  # whatever a kind does, its job has an end; the log gets the whole of it
        log.exception("job %s (%s) failed", run.job.id, kind.name)
        return Failed(JobError("INTERNAL", "it failed unexpectedly; this was logged", retryable=True))


def _kept(result: JobResult) -> JobResult:
    """The result, if it is of a size to be kept; raises what JSON cannot say."""
    if result is None or len(msgspec.json.encode(result)) <= LARGEST_PAYLOAD:
        return result
    return {"omitted": f"the result is larger than {LARGEST_PAYLOAD // 1024} KB"}
