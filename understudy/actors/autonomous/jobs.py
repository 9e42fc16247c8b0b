"""A batch that is done in the background."""

from collections.abc import Mapping

from understudy.actors.autonomous.asked import Ordered, problem_with, tasks_of
from understudy.actors.autonomous.running import Outcome, Principal, run_tasks
from understudy.actors.errors import Detail
from understudy.actors.jobs.kinds import JobFailed, JobKind, JobResult, JobRun, Payload
from understudy.actors.jobs.payloads import fits, read
from understudy.runtime import ActorSystem

BATCH_JOB = "autonomous.batch"

LONGEST_CONTENT = 1000
"""Characters of an answer that the job's result keeps; the session has it whole."""


def autonomous_job_kinds(system: ActorSystem) -> tuple[JobKind, ...]:
    """The type ``autonomous.batch``, which only holders of internal keys can ask for.

    It is completed when each task has come to an end, whichever; an attempt after a crash runs no task twice.
    """

    async def run(attempt: JobRun) -> JobResult:
        asked = read(Ordered, attempt.job.payload)
        if problem_with(asked.batch) is not None:
            raise JobFailed("the payload names no tasks", code="VALIDATION")
        outcomes = await run_tasks(
            system, tasks_of(asked.batch), Principal(asked.key), once=lambda place: f"{attempt.key}/{place}"
        )
        good = sum(outcome.done is not None for outcome in outcomes)
        results = [_result(outcome) for outcome in outcomes]
        return {"total": len(outcomes), "succeeded": good, "failed": len(outcomes) - good, "results": results}

    return (JobKind(BATCH_JOB, run, _check),)


def _check(payload: Payload) -> tuple[Detail, ...]:
    wrong = fits(Ordered)(payload)
    if wrong:
        return wrong
    problem = problem_with(read(Ordered, payload).batch)
    return () if problem is None else (Detail(f"batch.{problem[0]}", problem[1]),)


def _result(outcome: Outcome) -> Mapping[str, object]:
    named = {"uid": outcome.task.uid, "agentId": outcome.task.agent_id}
    if outcome.done is None:
        return {**named, "ok": False, "code": outcome.code, "error": outcome.error}
    content = outcome.done.content[:LONGEST_CONTENT]
    return {**named, "ok": True, "sessionId": outcome.done.session_id, "content": content}
