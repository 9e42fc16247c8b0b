"""`chat`: an agent of the workspace, as a tool for whoever speaks MCP to us."""

import hashlib
from typing import Annotated

from msgspec import Meta

from understudy.actors.agents.builtin import CHAD
from understudy.actors.errors import DomainError
from understudy.actors.made import asked_seed
from understudy.actors.mcp.messages import CHAT
from understudy.actors.session.errand import Errand, run_errand
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed
from understudy.runtime import ActorSystem, RuntimeFault
from understudy.storage.records import IdempotencyKey

SURFACE = "mcp"
SECONDS = 110.0
"""Less than a request may take, so that the answer is that it took too long."""


class Chat(Arguments, frozen=True):
    """Arguments of ``chat``."""

    message: Annotated[str, Meta(min_length=1, max_length=32_000, description="what to say to the agent")]
    agent: Annotated[str, Meta(min_length=1, max_length=64, description="the agent's id; default: chad")] = CHAD
    conversation: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
            description="which conversation to go on with, by any name of yours; default: main",
        ),
    ] = "main"


def _once(arguments: Chat, context: ToolContext) -> IdempotencyKey | None:
    """What makes the same request sent again be answered by the first one's turn, if it has a key."""
    seed = asked_seed()
    if seed is None:
        return None
    digest = hashlib.sha256(arguments.message.encode("utf-8", "surrogatepass")).digest()
    return IdempotencyKey(f"{context.uid}|{context.workspace_id}|mcp", seed, digest)


def chat_tool(system: ActorSystem) -> Tool:
    """The tool. Its turns are turns like any other: limited, recorded, and cancelled with whoever asked."""

    async def chat(arguments: Chat, context: ToolContext) -> str:
        errand = Errand(
            context.uid,
            context.workspace_id,
            arguments.agent,
            arguments.message,
            surface=SURFACE,
            surface_id=arguments.conversation,
            timeout=SECONDS,
            idempotency=_once(arguments, context),
        )
        try:
            done = await run_errand(system, errand)
        except DomainError as refusal:
            raise ToolFailed(refusal.message) from refusal
        except RuntimeFault as fault:
            raise ToolFailed("the agent cannot be reached at the moment; try again") from fault
        return done.content

    return Tool(CHAT, "Say something to an agent of this workspace and get its answer.", Chat, chat, SECONDS + 5.0)
