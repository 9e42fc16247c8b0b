"""`agent_spawn`: one agent has another of its workspace do something, and waits for what comes of it."""

from collections import Counter
from typing import Annotated

from msgspec import Meta

from understudy.actors.agents.delegation import Delegated
from understudy.actors.errors import DomainError
from understudy.actors.session.errand import Errand, run_errand
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed
from understudy.runtime import ActorSystem, RuntimeFault
from understudy.storage.records import new_id

SURFACE = "spawn"
SECONDS = 100.0
DEEPEST = 2
"""Agents one below the other, under the one that somebody spoke to; an agent's own ``maxDepth`` may be less."""
AT_ONCE = 5
"""Others that one agent has at work in a workspace at a time."""


class AgentSpawn(Arguments, frozen=True, rename="camel"):
    """Arguments of ``agent_spawn``."""

    agent_id: Annotated[str, Meta(min_length=1, max_length=64, description="the id of the agent that is to do it")]
    task: Annotated[
        str, Meta(min_length=1, max_length=32_000, description="what to do; it knows nothing of this conversation")
    ]


def spawning_tools(system: ActorSystem) -> list[Tool]:
    """The tool, on the agents of *system*.

    The other works on behalf of the same person, in a conversation of its own, with no more than both agents may do.
    Its turn is a turn like any other, on its own quotas; it is cancelled with the turn that asked for it.
    """
    at_work: Counter[tuple[str, str]] = Counter()

    async def agent_spawn(arguments: AgentSpawn, context: ToolContext) -> str:
        spawn, other = context.spawn, arguments.agent_id
        if not spawn.enabled or spawn.max_depth < 1:
            raise ToolFailed("this agent may not have others do things here")
        if other not in spawn.allowed_targets:
            known = ", ".join(spawn.allowed_targets) or "none"
            raise ToolFailed(f"this agent may not have {other!r} do things; those that it may: {known}")
        key = (context.workspace_id, context.agent_id)
        if at_work[key] >= AT_ONCE:
            raise ToolFailed(f"this agent has {AT_ONCE} others at work already; wait for one of them")
        at_work[key] += 1
        try:
            done = await run_errand(system, _errand(arguments, context))
        except DomainError as refusal:
            raise ToolFailed(f"{other}: {refusal.message}") from refusal
        except RuntimeFault as fault:
            raise ToolFailed(f"{other} cannot be reached at the moment") from fault
        finally:
            at_work[key] -= 1
            if not at_work[key]:
                del at_work[key]
        return done.content or "it was done, and nothing was said of it"

    return [
        Tool(
            "agent_spawn",
            "Have another agent of this workspace do something, and get its answer.",
            AgentSpawn,
            agent_spawn,
            timeout=SECONDS + 10.0,
            acts=True,
        )
    ]


def _errand(arguments: AgentSpawn, context: ToolContext) -> Errand:
    return Errand(
        context.uid,
        context.workspace_id,
        arguments.agent_id,
        arguments.task,
        surface=SURFACE,
        surface_id=new_id("spn"),
        timeout=SECONDS,
        delegated=Delegated(
            context.tools,
            context.files,
            depth=min(context.spawn.max_depth, DEEPEST) - 1,
            root=context.root or context.turn_id,
        ),
    )
