"""The JSON of `/autonomous`, beside what is asked: that has the same form as the job's."""

from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType, field

from understudy.actors.jobs.messages import JobStatus
from understudy.http.schemas import Usage, Wire


class LaterQuery(Wire, frozen=True):
    """Whether to be answered at once and have it done as a job."""

    later: bool = field(name="async", default=False)


class TaskDone(Wire, frozen=True):
    """What the agent answered."""

    uid: str
    agent_id: str
    session_id: str
    content: str
    tools_used: list[str]
    usage: Usage


class TaskResult(Wire, frozen=True):
    """What became of one task: ``status`` is what it would have been answered with by itself."""

    uid: str
    agent_id: str
    status: int
    ok: bool
    session_id: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tools_used: list[str] | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    error: str | UnsetType = UNSET
    code: str | UnsetType = UNSET


class BatchDone(Wire, frozen=True):
    """What became of each task, in their order."""

    total: int
    succeeded: int
    failed: int
    results: list[TaskResult]


class JobTaken(Wire, frozen=True):
    """It will be done: `GET /autonomous/jobs/{id}` says how far it is."""

    job_id: str
    status: JobStatus


class BatchJob(Wire, frozen=True):
    """A batch that is done in the background. ``result`` is null unless it is completed; its answers are cut short."""

    id: str
    status: JobStatus
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None
    error: str | None
