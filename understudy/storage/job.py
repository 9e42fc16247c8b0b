"""What waits to be done, is being done and was done, as it is stored: values for the actors, like `records`."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import attrs

from understudy.storage.entries import Published
from understudy.storage.records import Json


class JobStatus(StrEnum):
    """How far a job got. The last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@attrs.frozen
class JobError:
    """Why the last attempt failed. Without ``retryable`` there was no use in another."""

    code: str
    message: str
    retryable: bool = True


@attrs.frozen
class Job:
    """One thing to do, once.

    Attributes:
        workspace_id: Whose it is; None for the node's own jobs.
        uid: On whose behalf it is done.
        run_at: Not before then; after a failed attempt, when the next one is due.
        priority: Within the workspace, higher ones come first.
        attempts: How often it was begun. It may be once more than ``max_retries``.
        dedupe_key: Of unfinished jobs of one type and workspace, one may have it.
        internal: The node asked for it, and no member of the workspace: they do not see it.
        token: Rises whenever the job changes hands. Who holds an older one can change nothing any more.
        error: What the last attempt failed of, also while the next one is waited for.
    """

    id: str
    type: str
    payload: Json
    created_at: datetime
    run_at: datetime
    workspace_id: str | None = None
    uid: str | None = None
    status: JobStatus = JobStatus.PENDING
    priority: int = 0
    attempts: int = 0
    max_retries: int = 3
    timeout_seconds: int = 300
    dedupe_key: str | None = None
    internal: bool = False
    token: int = 0
    result: Json | None = None
    error: JobError | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_last_attempt(self) -> bool:
        """Whether the attempt that is under way has no other after it."""
        return self.attempts > self.max_retries

    @property
    def is_dead(self) -> bool:
        """Whether it was given up after as many attempts as it may have."""
        return self.status is JobStatus.FAILED and self.error is not None and self.error.retryable


Told: TypeAlias = Callable[[Job], Published | None]
"""Makes of a job that was given up the fact to publish, if any: the same one each time."""


@attrs.frozen
class JobFilter:
    """Which jobs of a workspace, newest first; None does not ask. ``dead``: those given up after all their attempts."""

    workspace_id: str
    status: JobStatus | None = None
    type: str | None = None
    dead: bool = False
    limit: int = 50
    offset: int = 0
