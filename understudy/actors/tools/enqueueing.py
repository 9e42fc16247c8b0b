"""A tool with which agents have something done in the background."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from understudy.actors.asking import Asker
from understudy.actors.errors import DomainError
from understudy.actors.heartbeats.jobs import HEARTBEAT_RUN
from understudy.actors.heartbeats.wake import SURFACE as WOKEN
from understudy.actors.jobs.agentrun import AGENT_RUN, SURFACE
from understudy.actors.jobs.messages import JOBS, LONGEST_TYPE, EnqueueJob
from understudy.actors.session.messages import DIRECTORY, AuthorizeSession
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed
from understudy.runtime import Ask, RuntimeFault

PATIENCE = 15.0

ALONE = {AGENT_RUN: {SURFACE}, HEARTBEAT_RUN: {SURFACE, WOKEN}}
"""Types of jobs that have agents run, and the surfaces on which nobody is there to see what that leads to."""

R = TypeVar("R")


class JobEnqueue(Arguments, frozen=True):
    """Arguments of ``job_enqueue``."""

    type: Annotated[
        str, Meta(min_length=1, max_length=LONGEST_TYPE, description="such as agent.run; an unknown one names the rest")
    ]
    payload: Annotated[
        dict[str, Any], Meta(description='for agent.run: {"message": what to do, "agentId": by which agent}')
    ] = msgspec.field(default_factory=dict)


def job_tools(system: Asker) -> list[Tool]:
    """The tool, on the queue of *system*. On whose behalf the job is, and in which workspace, the turn decides.

    Agents that run in the background, or for another agent, have no other run in the background: an agent that was
    talked into it would go on for ever, and nobody would be there to see.
    """

    async def ask(address: str, message: Ask[R]) -> R:
        try:
            return await system.ask(address, message, timeout=PATIENCE)
        except DomainError as refusal:
            raise ToolFailed(refusal.message) from refusal
        except RuntimeFault as fault:
            raise ToolFailed("the job queue is away for the moment") from fault

    async def job_enqueue(arguments: JobEnqueue, context: ToolContext) -> str:
        if arguments.type in ALONE:
            session = await ask(DIRECTORY, AuthorizeSession(context.uid, context.session_id))
            if context.root or session.key.surface in ALONE[arguments.type]:
                raise ToolFailed("somebody has to be there: only agents that people talk to have others run in jobs")
        wanted = EnqueueJob(
            uid=context.uid,
            workspace_id=context.workspace_id,
            type=arguments.type,
            payload=arguments.payload,
            public=True,
        )
        job = await ask(JOBS, wanted)
        return f"enqueued as {job.id}; it begins by itself, and nobody waits for its result"

    return [
        Tool(
            "job_enqueue",
            "Have something done in the background, after this conversation's turn: another agent's work, for example.",
            JobEnqueue,
            job_enqueue,
        )
    ]
