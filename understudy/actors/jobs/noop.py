"""A job that does nothing, for as long and with as many failures as it is asked for: to try the queue with."""

from typing import Annotated

import trio
from msgspec import Meta

from understudy.actors.jobs.kinds import JobFailed, JobKind, JobResult, JobRun
from understudy.actors.jobs.payloads import Fields, fits, read


class Noop(Fields, frozen=True):
    """Sleep so many milliseconds in each attempt, and let the first so many fail."""

    sleep_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0
    fail: Annotated[int, Meta(ge=0, le=100)] = 0


async def _noop(run: JobRun) -> JobResult:
    asked = read(Noop, run.job.payload)
    await trio.sleep(asked.sleep_ms / 1000)
    if run.attempt <= asked.fail:
        raise JobFailed(f"attempt {run.attempt} of {asked.fail} that were asked to fail", retryable=True)
    return {"attempt": run.attempt}


NOOP = JobKind("noop", _noop, fits(Noop), public=True)
