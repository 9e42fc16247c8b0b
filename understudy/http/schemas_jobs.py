"""The JSON of `/jobs`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, field

from understudy.actors.jobs.messages import (
    LONGEST_DEDUPE_KEY,
    LONGEST_TIMEOUT,
    LONGEST_TYPE,
    MOST_RETRIES,
    PRIORITIES,
    JobStatus,
)
from understudy.http.schemas import Moment, Offset, Wire

JobType = Annotated[str, Meta(min_length=1, max_length=LONGEST_TYPE, examples=["agent.run"])]


class NewJob(Wire, frozen=True):
    """Something to do in the background. What `payload` may be depends on the type; 256 KB of JSON at most."""

    type: JobType
    payload: dict[str, Any] = field(default_factory=dict)
    max_retries: Annotated[int, Meta(ge=0, le=MOST_RETRIES)] = 3
    timeout_seconds: Annotated[int, Meta(ge=1, le=LONGEST_TIMEOUT)] = 300
    run_at: Moment | None = None
    priority: Annotated[int, Meta(ge=PRIORITIES[0], le=PRIORITIES[1])] = 0
    dedupe_key: Annotated[str, Meta(min_length=1, max_length=LONGEST_DEDUPE_KEY)] | None = None


class JobView(StrEnum):
    """A status, or `dead`: jobs that failed and have no attempt left."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


class JobsQuery(Wire, frozen=True):
    """Which jobs."""

    status: JobView | None = None
    type: JobType | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Offset = 0


class CancelQuery(Wire, frozen=True):
    """Whether a job is to be stopped that is running."""

    force: bool = False


class JobProblem(Wire, frozen=True):
    """Why the last attempt failed. Without `retryable`, another would not have helped."""

    code: str
    message: str
    retryable: bool


class JobSummary(Wire, frozen=True):
    """A job without what it was given and what came of it.

    `attempts` counts those that were begun; `nextAttemptAt` is when the next is due, while the job is pending.
    """

    id: str
    workspace_id: str
    uid: str | None
    type: str
    status: JobStatus
    priority: int
    dedupe_key: str | None
    attempts: int
    max_retries: int
    timeout_seconds: int
    error: JobProblem | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None


class Job(JobSummary, frozen=True):
    """A job. `result` depends on its type, and is null unless it is completed."""

    payload: dict[str, Any]
    result: dict[str, Any] | None


class JobList(Wire, frozen=True):
    """Jobs, newest first."""

    jobs: list[JobSummary]
    total: int
    limit: int
    offset: int
