"""What the job queue can be asked, and where the parts of it live."""

from collections.abc import Mapping
from datetime import datetime

import attrs

from understudy.runtime import Ask
from understudy.storage.job import Job as Job
from understudy.storage.job import JobError as JobError
from understudy.storage.job import JobFilter as JobFilter
from understudy.storage.job import JobStatus as JobStatus

JOBS = "jobs/queue"
"""Whom to ask for a job. In the tree, ``jobs`` is the supervisor of all of them."""

DISPATCHER = "jobs/dispatcher"
SCHEDULE = "jobs/schedule"
RUNNING = "jobs/running"
"""The supervisor of the actors that do jobs."""

KIND = "job"
"""First part of the address of an actor that does a job."""

MOST_UNFINISHED = 10_000
"""Jobs that a workspace may have waiting or running."""
LARGEST_PAYLOAD = 256 * 1024
"""Bytes of a payload, and of a result, as JSON."""
LONGEST_TYPE = 64
LONGEST_DEDUPE_KEY = 200
MOST_RETRIES = 10
LONGEST_TIMEOUT = 3600
"""Seconds."""
PRIORITIES = (-100, 100)
FURTHEST_DAYS = 366
"""How far ahead a job may be put off."""


def job_address(job_id: str) -> str:
    """Where the actor lives that does the job, while it is running on this node."""
    return f"{KIND}/{job_id}"


@attrs.frozen
class EnqueueJob(Ask[Job]):
    """Put a job on the queue; answered once that is committed, and with nothing else to wait for it begins at once.

    When an unfinished job of the same type and workspace has the same ``dedupe_key``, the answer is that job. With
    ``public`` it is somebody's wish: only the types that users may have are taken, and the workspace's members see the
    job. Without, it is internal to the node, though it may be in a workspace's name: nobody there sees it, and it does
    not take the place of what they ask for. A job without a workspace is the node's own.

    Refused with `Invalid` (naming the field; an unknown type with those there are), `RateLimited` (the workspace has
    `MOST_UNFINISHED` already) and `Unavailable`.
    """

    uid: str | None
    workspace_id: str | None
    type: str
    payload: Mapping[str, object] = attrs.field(factory=dict)
    max_retries: int = 3
    timeout_seconds: int = 300
    run_at: datetime | None = None
    priority: int = 0
    dedupe_key: str | None = None
    public: bool = False
    request_id: str | None = None


@attrs.frozen
class GetJob(Ask[Job]):
    """One job of the workspace. `NotFound`."""

    workspace_id: str
    job_id: str


@attrs.frozen
class JobPage:
    """Jobs, newest first, and how many there are in all."""

    jobs: tuple[Job, ...]
    total: int


@attrs.frozen
class ListJobs(Ask[JobPage]):
    """Some jobs of a workspace."""

    filter: JobFilter


@attrs.frozen
class CancelJob(Ask[Job]):
    """Cancel a job that has not begun, or with ``force`` also one that is running.

    A running one no longer counts once this is answered: whatever it still says of its end is refused. On this node it
    has also come to its end by then, on another it does within a third of its lease.

    Refused with `NotFound` and `Conflict` (it runs, or it is over).
    """

    workspace_id: str
    uid: str
    job_id: str
    force: bool = False
    request_id: str | None = None


@attrs.frozen
class LookForJobs:
    """Tell the dispatcher that there may be something to do."""


@attrs.frozen
class StopJob(Ask[None]):
    """Ask a job's actor to stop what it does, without a word to the database; answered when all of it has ended."""
