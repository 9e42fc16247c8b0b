"""`/jobs`: work that is done in the background."""

from typing import Any

from quart import Blueprint

from understudy.actors.jobs.messages import (
    JOBS,
    CancelJob,
    EnqueueJob,
    GetJob,
    JobFilter,
    JobStatus,
    ListJobs,
)
from understudy.actors.jobs.messages import Job as StoredJob
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_jobs
from understudy.http.access import member, once
from understudy.http.decode import body, query
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.http.schemas_jobs import JobView

routes = Blueprint("jobs", __name__, url_prefix="/jobs")

PATIENCE = 20.0
"""Seconds for the database to answer while it is slow, and for a job that is stopped to come to its end."""

_NEW = {"type": "agent.run", "payload": {"agentId": "chad", "message": "Sum up what happened today."}}
_SUMMARY = {
    "id": "job_8f0c1d2e3a4b5c6d7e8f90",
    "workspaceId": "ws_5",
    "uid": "usr_71ab",
    "type": "agent.run",
    "status": "completed",
    "priority": 0,
    "dedupeKey": None,
    "attempts": 1,
    "maxRetries": 3,
    "timeoutSeconds": 300,
    "error": None,
    "createdAt": "2026-03-02T08:00:00Z",
    "startedAt": "2026-03-02T08:00:00Z",
    "finishedAt": "2026-03-02T08:00:02Z",
    "nextAttemptAt": None,
}
_DONE = {**_SUMMARY, "payload": _NEW["payload"], "result": {"sessionId": "ses_9", "content": "Nothing did."}}
_PENDING = {
    **_SUMMARY,
    "status": "pending",
    "attempts": 0,
    "startedAt": None,
    "finishedAt": None,
    "nextAttemptAt": "2026-03-02T08:00:00Z",
}


@routes.post("")
@operation(
    "createJob",
    Auth.WORKSPACE,
    body=schemas_jobs.NewJob,
    replies={202: schemas_jobs.Job},
    headers=("X-Workspace-Id", "X-Idempotency-Key"),
    errors=("CONFLICT", "RATE_LIMIT"),
    example=_NEW,
    reply_example={**_PENDING, "payload": _NEW["payload"], "result": None},
)
async def create_job() -> Reply:
    """Have something done in the background.

    Types: `agent.run` (payload `agentId`, `message`, `surfaceId`: one turn of an agent), `heartbeat.run`
    (`heartbeatId`), `webhook.deliver` (`webhookId`, `deliveryId`), `memory.consolidate`, `memory.reindex`,
    `cost.snapshot` (`day`), `noop` (`sleepMs` up to 60000, `fail`: so many attempts); an unknown type is answered with
    those there are. The job begins at once, or at `runAt`; a workspace has two running at a time. What
    fails is tried again `maxRetries` times, each time later. With a `dedupeKey` that an unfinished job of the type has,
    the answer is that job.
    """
    request = this_request()
    caller = await member(request)
    uid, workspace_id = caller.uid, caller.workspace_id
    given = body(request, schemas_jobs.NewJob)
    message = EnqueueJob(
        uid=uid,
        workspace_id=workspace_id,
        type=given.type,
        payload=given.payload,
        max_retries=given.max_retries,
        timeout_seconds=given.timeout_seconds,
        run_at=given.run_at,
        priority=given.priority,
        dedupe_key=given.dedupe_key,
        public=True,
        request_id=request.id,
    )

    async def do() -> Reply:
        job = await request.ask(JOBS, message, PATIENCE)
        return json(_job(job), 202, ((b"location", f"/jobs/{job.id}".encode()),))

    return await once(request, uid, do)


@routes.get("")
@operation(
    "listJobs",
    Auth.WORKSPACE,
    query=schemas_jobs.JobsQuery,
    replies={200: schemas_jobs.JobList},
    headers=("X-Workspace-Id",),
    errors=("RATE_LIMIT",),
    reply_example={"jobs": [_SUMMARY], "total": 1, "limit": 50, "offset": 0},
)
async def list_jobs() -> Reply:
    """List the workspace's jobs, newest first.

    `status=dead` lists those that were given up after their last attempt. Finished jobs are kept for 30 days.
    """
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    asked = query(request, schemas_jobs.JobsQuery)
    dead = asked.status is JobView.DEAD
    status = JobStatus(asked.status.value) if asked.status is not None and not dead else None
    wanted = JobFilter(workspace_id, status, asked.type, dead, asked.limit, asked.offset)
    page = await request.ask(JOBS, ListJobs(wanted), PATIENCE)
    shown = schemas_jobs.JobList(
        jobs=[schemas_jobs.JobSummary(**_summary(job)) for job in page.jobs],
        total=page.total,
        limit=asked.limit,
        offset=asked.offset,
    )
    return json(shown, headers=next_link(request, asked, page.total))


@routes.get("/<id>")
@operation(
    "getJob",
    Auth.WORKSPACE,
    replies={200: schemas_jobs.Job},
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "RATE_LIMIT"),
    reply_example=_DONE,
)
async def get_job(id: str) -> Reply:
    """Read a job, with its result or its error."""
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    return json(_job(await request.ask(JOBS, GetJob(workspace_id, id), PATIENCE)))


@routes.delete("/<id>")
@operation(
    "cancelJob",
    Auth.WORKSPACE,
    query=schemas_jobs.CancelQuery,
    replies={200: schemas_jobs.Job},
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "CONFLICT", "RATE_LIMIT"),
    reply_example={
        **_PENDING,
        "status": "cancelled",
        "finishedAt": "2026-03-02T08:00:01Z",
        "nextAttemptAt": None,
        "payload": _NEW["payload"],
        "result": None,
    },
)
async def cancel_job(id: str) -> Reply:
    """Cancel a job that is pending.

    A running one is a conflict, unless `force=true`: then everything it started is stopped, and nothing of it happens
    after the answer. A job that is over is a conflict.
    """
    request = this_request()
    caller = await member(request)
    uid, workspace_id = caller.uid, caller.workspace_id
    asked = query(request, schemas_jobs.CancelQuery)
    return json(_job(await request.ask(JOBS, CancelJob(workspace_id, uid, id, asked.force, request.id), PATIENCE)))


def _job(job: StoredJob) -> schemas_jobs.Job:
    return schemas_jobs.Job(
        **_summary(job), payload=dict(job.payload), result=None if job.result is None else dict(job.result)
    )


def _summary(job: StoredJob) -> dict[str, Any]:
    error = job.error
    return {
        "id": job.id,
        "workspace_id": job.workspace_id,
        "uid": job.uid,
        "type": job.type,
        "status": job.status,
        "priority": job.priority,
        "dedupe_key": job.dedupe_key,
        "attempts": job.attempts,
        "max_retries": job.max_retries,
        "timeout_seconds": job.timeout_seconds,
        "error": error and schemas_jobs.JobProblem(code=error.code, message=error.message, retryable=error.retryable),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "next_attempt_at": job.run_at if job.status is JobStatus.PENDING else None,
    }
