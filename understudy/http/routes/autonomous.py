"""`/autonomous`: agents run by programs, on behalf of any user."""

from typing import Any

import msgspec
import trio
from quart import Blueprint

from understudy.actors.admin.messages import ADMIN, GetNodeJob, Job
from understudy.actors.autonomous.asked import Batch, Task, problem_with, tasks_of
from understudy.actors.autonomous.jobs import BATCH_JOB
from understudy.actors.autonomous.running import Outcome, Principal, run_task, run_tasks
from understudy.actors.identity.messages import KeyPrincipal, KeyScope
from understudy.actors.jobs.messages import JOBS, LONGEST_TIMEOUT, EnqueueJob
from understudy.actors.limits.messages import Bucket
from understudy.http import examples, schemas
from understudy.http import schemas_autonomous as shapes
from understudy.http.access import acted, limited, once, operator
from understudy.http.decode import body, query
from understudy.http.errors import STATUS, invalid
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("autonomous", __name__, url_prefix="/autonomous")

MARGIN = 2.0
"""Seconds before a request's time is over in which what has not ended is stopped, and the rest is answered."""

_SCOPE = KeyScope.AUTONOMOUS
_ERRORS = (
    "NOT_FOUND",
    "CONFLICT",
    "RATE_LIMIT",
    "QUOTA_EXCEEDED",
    "TOKEN_BUDGET_EXCEEDED",
    "PROVIDER_ERROR",
    "TIMEOUT",
)
_TASK = {"uid": "usr_9kq2", "agentId": "chad", "taskMessage": "Write the weekly report."}

_BATCH = {
    "total": 2,
    "succeeded": 1,
    "failed": 1,
    "results": [
        {**examples.TASK_DONE, "status": 200, "ok": True},
        {"uid": "usr_2", "agentId": "chad", "status": 404, "ok": False, "error": "no such user", "code": "NOT_FOUND"},
    ],
}
_JOB = {
    "id": "job_5c1e",
    "status": "completed",
    "attempts": 1,
    "createdAt": "2026-03-02T09:10:00Z",
    "startedAt": "2026-03-02T09:10:00Z",
    "finishedAt": "2026-03-02T09:10:42Z",
    "result": _BATCH,
    "error": None,
}


@routes.post("/run")
@operation(
    "runAutonomously",
    Auth.KEY,
    scope=_SCOPE,
    body=Task,
    query=shapes.LaterQuery,
    replies={200: shapes.TaskDone, 202: shapes.JobTaken},
    reply_example=examples.TASK_DONE,
    headers=("X-Idempotency-Key",),
    errors=_ERRORS,
    example=_TASK,
)
async def run() -> Reply:
    """Run an agent on a user's behalf, and wait for its answer.

    The user's quotas apply. It is stopped when the client goes away, and when the request's time is over; with
    `async=true` it is done as a job instead, which neither does. Together with batches 60 a minute for each key.
    """
    request = this_request()
    holder = await _holder(request)
    task = body(request, Task)

    async def do() -> Reply:
        if query(request, shapes.LaterQuery).later:
            return await _later(request, holder, Batch(tasks=(task,)))
        within = request.deadline - MARGIN - trio.current_time()
        # By the key's seed: what an attempt whose answer was lost has had done is its answer.
        by = Principal(holder.name, request.id)
        done = await run_task(request.node, task, by, within=within, once=request.seed)
        return json(
            shapes.TaskDone(
                uid=task.uid,
                agent_id=task.agent_id,
                session_id=done.session_id,
                content=done.content,
                tools_used=list(done.tools_used),
                usage=_usage(done.usage),
            )
        )

    return await once(request, f"key:{holder.id or holder.name}", do)


@routes.post("/batch")
@operation(
    "runBatch",
    Auth.KEY,
    scope=_SCOPE,
    body=Batch,
    query=shapes.LaterQuery,
    replies={200: shapes.BatchDone, 207: shapes.BatchDone, 202: shapes.JobTaken, 502: shapes.BatchDone},
    reply_example=_BATCH,
    headers=("X-Idempotency-Key",),
    errors=("CONFLICT", "RATE_LIMIT"),
    example={"tasks": [_TASK, {**_TASK, "uid": "usr_2"}]},
)
async def batch() -> Reply:
    """Run an agent on behalf of several users, four at a time, and wait for all.

    200 when all succeeded, 207 when some did, 502 when none did; each result has the status it would have had by
    itself. What has not ended when the request's time is over has timed out: give large batches `async=true`. They are
    stopped when the client goes away. Together with `/run` 60 a minute for each key.
    """
    request = this_request()
    holder = await _holder(request)
    asked = body(request, Batch)
    if (problem := problem_with(asked)) is not None:
        raise invalid(*problem)

    async def do() -> Reply:
        if query(request, shapes.LaterQuery).later:
            return await _later(request, holder, asked)
        by = Principal(holder.name, request.id)
        seed, until = request.seed, request.deadline - MARGIN
        once_each = None if seed is None else lambda place: f"{seed}:{place}"
        outcomes = await run_tasks(request.node, tasks_of(asked), by, deadline=until, once=once_each)
        results = [_result(outcome) for outcome in outcomes]
        good = sum(result.ok for result in results)
        status = 200 if good == len(results) else 207 if good else 502
        bad = len(results) - good
        return json(shapes.BatchDone(total=len(results), succeeded=good, failed=bad, results=results), status)

    return await once(request, f"key:{holder.id or holder.name}", do)


@routes.get("/jobs/<id>")
@operation(
    "autonomousJob", Auth.KEY, scope=_SCOPE, replies={200: shapes.BatchJob}, reply_example=_JOB, errors=("NOT_FOUND",)
)
async def job(id: str) -> Reply:
    """See how far a batch is that was given `async=true`."""
    request = this_request()
    await operator(request, _SCOPE)
    found = await request.ask(ADMIN, GetNodeJob(BATCH_JOB, id))
    return json(_job(found))


async def _holder(request: ApiRequest) -> KeyPrincipal:
    holder = await operator(request, _SCOPE)
    await limited(request, Bucket("autonomous", holder.id or holder.name))
    return holder


async def _later(request: ApiRequest, holder: KeyPrincipal, asked: Batch) -> Reply:
    payload: dict[str, Any] = {"batch": msgspec.to_builtins(asked), "key": holder.name}
    message = EnqueueJob(None, None, BATCH_JOB, payload, timeout_seconds=LONGEST_TIMEOUT, request_id=request.id)
    taken = await request.ask(JOBS, message)
    acted(request, holder, "autonomous.queued", job=taken.id, tasks=len(tasks_of(asked)))
    location = (b"location", f"/autonomous/jobs/{taken.id}".encode())
    return json(shapes.JobTaken(job_id=taken.id, status=taken.status), 202, headers=(location,))


def _usage(usage: Any) -> schemas.Usage:
    return schemas.Usage(
        prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, total_tokens=usage.total_tokens
    )


def _result(outcome: Outcome) -> shapes.TaskResult:
    task, done = outcome.task, outcome.done
    if done is None:
        code = outcome.code or "INTERNAL"
        return shapes.TaskResult(
            uid=task.uid,
            agent_id=task.agent_id,
            status=STATUS.get(code, 500),
            ok=False,
            error=outcome.error or "It failed",
            code=code,
        )
    return shapes.TaskResult(
        uid=task.uid,
        agent_id=task.agent_id,
        status=200,
        ok=True,
        session_id=done.session_id,
        content=done.content,
        tools_used=list(done.tools_used),
        usage=_usage(done.usage),
    )


def _job(job: Job) -> shapes.BatchJob:
    return shapes.BatchJob(
        id=job.id,
        status=job.status,
        attempts=job.attempts,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        result=dict(job.result) if job.result is not None else None,
        error=job.error.message if job.error is not None else None,
    )
