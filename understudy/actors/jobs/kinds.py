"""What a type of job is: its name, what its payload may be, and what doing it is.

    async def greet(run: JobRun) -> Mapping[str, object]:
        return {"greeting": f"hello {run.job.payload['name']}"}

    JobKind("greet", greet, public=True)

A job is done at least once. Its row says so exactly once: an attempt that lost its lease cannot record an end. What a
job does elsewhere should bear being done twice, or be keyed by `JobRun.key`.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, time, timedelta
from typing import TypeAlias

import attrs

from understudy.actors.clock import utc_now
from understudy.actors.errors import Detail
from understudy.storage.job import Job

Payload: TypeAlias = Mapping[str, object]
JobResult: TypeAlias = Mapping[str, object] | None


@attrs.frozen
class JobRun:
    """One attempt at a job, as whoever does it sees it."""

    job: Job
    now: Callable[[], datetime] = utc_now

    @property
    def attempt(self) -> int:
        """The how-manieth it is, from 1 on."""
        return self.job.attempts

    @property
    def key(self) -> str:
        """The same for every attempt at this job, and for no other job."""
        return self.job.id


class JobFailed(Exception):
    """The job cannot be done, or not now (``retryable``). ``message`` is shown to whoever asked for it."""

    def __init__(self, message: str, *, code: str = "JOB_FAILED", retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable


def any_payload(payload: Payload) -> tuple[Detail, ...]:
    """Finds nothing wrong."""
    del payload
    return ()


@attrs.frozen
class JobKind:
    """A type of job.

    Attributes:
        name: What `EnqueueJob.type` and `POST /jobs` call it.
        run: Does it, in a task of the job's own actor: cancelled when the job is stopped, when its time is over and
            when its lease is lost. What it returns is the job's result, an object of JSON. Raises `JobFailed` or a
            `DomainError`, which say whether another attempt is of any use; anything else is logged, and tried again.
        check: What is wrong with a payload, with paths within it; asked before the job is stored.
        public: Whether users may ask for it by `POST /jobs`, and agents by `job_enqueue`.
    """

    name: str
    run: Callable[[JobRun], Awaitable[JobResult]]
    check: Callable[[Payload], tuple[Detail, ...]] = any_payload
    public: bool = False


@attrs.frozen
class Scheduled:
    """A job of the node's own that comes again and again, once for each due time in whichever number of nodes.

    Due times that passed while no node ran are made up for by one job.

    Attributes:
        name: What the schedule calls it; unique in the node.
        kind: The type of job.
        at: Time of day, in the configured time zone.
        weekday: With ``at``: only on this day, Monday being 0.
        every: Instead of ``at``: so far apart, counted from midnight UTC of 1970-01-01.
        payload: The job's.
        timeout_seconds: How long an attempt may take.
    """

    name: str
    kind: str
    at: time | None = None
    weekday: int | None = None
    every: timedelta | None = None
    payload: Payload = attrs.field(factory=dict)
    timeout_seconds: int = 1800

    def __attrs_post_init__(self) -> None:
        if (self.at is None) == (self.every is None):
            raise ValueError(f"{self.name}: a schedule has either a time of day or an interval")
        if self.every is not None and (self.every < timedelta(seconds=1) or self.weekday is not None):
            raise ValueError(f"{self.name}: an interval is a second at least, and has no weekday")
        if self.weekday is not None and not 0 <= self.weekday <= 6:
            raise ValueError(f"{self.name}: weekdays are 0 (Monday) to 6")
