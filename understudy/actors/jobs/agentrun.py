"""Running an agent in the background."""

import hashlib
from typing import Annotated

from msgspec import Meta

from understudy.actors.jobs.kinds import JobFailed, JobKind, JobResult, JobRun
from understudy.actors.jobs.payloads import Fields, fits, read
from understudy.actors.session.errand import Errand, run_errand
from understudy.runtime import ActorSystem
from understudy.storage.records import IdempotencyKey

AGENT_RUN = "agent.run"
SURFACE = "job"
"""Of the conversations in which jobs have agents run."""


class AgentRun(Fields, frozen=True):
    """What to say to which agent; without ``surface_id`` in a conversation of the job's own."""

    message: Annotated[str, Meta(min_length=1, max_length=10_000)]
    agent_id: Annotated[str, Meta(min_length=1, max_length=128)] = "chad"
    surface_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


def agent_run(system: ActorSystem) -> JobKind:
    """The type ``agent.run``: one turn of an agent, on behalf of whoever asked for the job, in its workspace.

    An attempt that finds the turn of an earlier one already done answers with that: the agent runs once, also when the
    server was killed after the turn and before the job was recorded.
    """

    async def run(attempt: JobRun) -> JobResult:
        job, asked = attempt.job, read(AgentRun, attempt.job.payload)
        if job.uid is None or job.workspace_id is None:
            raise JobFailed("an agent runs on behalf of somebody in a workspace", code="VALIDATION")
        scope = f"{job.uid}|{job.workspace_id}|{SURFACE}"
        digest = hashlib.sha256(asked.message.encode()).digest()
        done = await run_errand(
            system,
            Errand(
                uid=job.uid,
                workspace_id=job.workspace_id,
                agent_id=asked.agent_id,
                message=asked.message,
                surface=SURFACE,
                surface_id=asked.surface_id or job.id,
                timeout=job.timeout_seconds,
                idempotency=IdempotencyKey(scope, attempt.key, digest),
            ),
        )
        return {
            "sessionId": done.session_id,
            "turnId": done.turn_id,
            "content": done.content,
            "toolsUsed": list(done.tools_used),
            "model": done.model,
            "usage": {
                "promptTokens": done.usage.prompt_tokens,
                "completionTokens": done.usage.completion_tokens,
                "totalTokens": done.usage.total_tokens,
            },
        }

    return JobKind(AGENT_RUN, run, fits(AgentRun), public=True)
