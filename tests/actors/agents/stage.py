"""The agents actor over a store in memory, with two workspaces and three tools."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio

from tests.support.clock import WallClock
from understudy.actors.agents.actor import MAX_AGE, agents_spec
from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.document import AgentDocument
from understudy.actors.agents.messages import AGENTS, AgentView, Author, CreateAgent, ResolveAgent
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.tools.host import tool_host_spec
from understudy.runtime import ActorSystem, Ask, SupervisorSpec
from understudy.storage.memory import MemoryStore
from understudy.storage.records import User, Workspace

TOOLS = tuple(ToolSpec(name, f"What {name} does", {}) for name in ("clock", "files", "web"))
MODEL = {"provider": "openai", "modelId": "gpt-4.1-mini"}


def document(**fields: Any) -> AgentDocument:
    whole = {"model": MODEL, "systemPromptTemplate": "Help {{workspace.displayName}}.", **fields}
    return msgspec.convert(whole, AgentDocument)


@attrs.define
class Node:
    """The agents actor over a store in memory, with two workspaces."""

    system: ActorSystem
    store: MemoryStore
    skills: dict[str, tuple[str, ...]]
    clock: WallClock
    mira = Author("ws_mira", "usr_mira", "req_1")
    noor = Author("ws_noor", "usr_noor")

    async def ask(self, message: Ask[Any]) -> Any:
        return await self.system.ask(AGENTS, message)

    async def create(self, agent_id: str = "helper", author: Author | None = None, **fields: Any) -> AgentView:
        created: AgentView = await self.ask(CreateAgent(author or self.mira, agent_id, document(**fields)))
        return created

    async def resolve(self, agent_id: str = "helper", workspace_id: str = "ws_mira") -> AgentConfig:
        config: AgentConfig = await self.ask(ResolveAgent(workspace_id, agent_id))
        return config


@asynccontextmanager
async def running(
    model: str = "builtin/rehearsal", *, tools: bool = True, seeds: Sequence[AgentView] = ()
) -> AsyncIterator[Node]:
    store, skills, clock = MemoryStore(), dict[str, tuple[str, ...]](), WallClock()
    for name in ("mira", "noor"):
        owner = User(f"usr_{name}", f"{name}@example.org", "hash", clock())
        await store.users.create(owner, Workspace(f"ws_{name}", name.title(), owner.id, "personal", clock()))
    with trio.fail_after(10 * MAX_AGE):
        async with ActorSystem("test") as system:
            if tools:
                await system.spawn(SupervisorSpec("tools", children=(tool_host_spec(lambda: TOOLS),)))
            await system.spawn(
                agents_spec(model, store, providers=("mycompany",), skills=skills, seeds=seeds, now=clock)
            )
            yield Node(system, store, skills, clock)
