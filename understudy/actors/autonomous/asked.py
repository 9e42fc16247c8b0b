"""What a program may ask to be done: the form of the API, and of the job that does it later."""

from typing import Annotated

from msgspec import Meta

from understudy.actors.jobs.payloads import Fields

MOST_TASKS = 100
AT_ONCE = 4
"""Tasks of one batch that run at the same time."""
SURFACE = "prop"

Name = Annotated[str, Meta(min_length=1, max_length=128)]
TaskMessage = Annotated[str, Meta(min_length=1, max_length=10_000, examples=["Write the weekly report."])]
Timeout = Annotated[float, Meta(ge=1, le=600)]


class Task(Fields, frozen=True, forbid_unknown_fields=False):
    """Something for an agent to do on a user's behalf.

    Without ``workspaceId`` in the user's only workspace. ``surfaceId`` names the conversation it becomes part of. A
    request as a whole has its own bound of time; ``timeoutSeconds`` is the task's.
    """

    uid: Name
    task_message: TaskMessage
    agent_id: Name = "chad"
    workspace_id: Name | None = None
    surface_id: Name = "autonomous"
    timeout_seconds: Timeout = 120.0


class Batch(Fields, frozen=True, forbid_unknown_fields=False):
    """Either ``uids`` for whom the same is to be done, or ``tasks``; at most 100, of which four run at a time."""

    uids: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=MOST_TASKS)] | None = None
    task_message: TaskMessage | None = None
    agent_id: Name = "chad"
    workspace_id: Name | None = None
    surface_id: Name = "autonomous"
    timeout_seconds: Timeout = 120.0
    tasks: Annotated[tuple[Task, ...], Meta(min_length=1, max_length=MOST_TASKS)] | None = None


class Ordered(Fields, frozen=True):
    """The payload of the job: the batch, and the name of the key whose holder asked for it."""

    batch: Batch
    key: str


def tasks_of(batch: Batch) -> tuple[Task, ...]:
    """Every task of a batch that `problem_with` has found nothing wrong with."""
    if batch.tasks is not None:
        return batch.tasks
    return tuple(
        Task(
            uid=uid,
            task_message=batch.task_message or "",
            agent_id=batch.agent_id,
            workspace_id=batch.workspace_id,
            surface_id=batch.surface_id,
            timeout_seconds=batch.timeout_seconds,
        )
        for uid in batch.uids or ()
    )


def problem_with(batch: Batch) -> tuple[str, str] | None:
    """What the types cannot say: (field, issue), or None."""
    if (batch.uids is None) == (batch.tasks is None):
        return ("tasks", "either_uids_or_tasks")
    if batch.uids is not None and batch.task_message is None:
        return ("taskMessage", "missing")
    return None
