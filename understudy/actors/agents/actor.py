"""The actor that knows every agent."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import attrs
import trio

from understudy.actors.agents.builtin import CHAD, chad
from understudy.actors.agents.catalogue import Catalogue
from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.messages import (
    AGENTS,
    AgentPage,
    AgentView,
    Capabilities,
    CreateAgent,
    DeleteAgent,
    GetAgent,
    GetVersion,
    LabelVersion,
    ListAgents,
    ListCapabilities,
    ListVersions,
    ReplaceAgent,
    ResolveAgent,
    RollBack,
    VersionPage,
    VersionView,
)
from understudy.actors.agents.ports import AgentStore
from understudy.actors.agents.tooling import NobodyElse, Roster, Skills, Texts
from understudy.actors.clock import utc_now
from understudy.actors.errors import Unavailable
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.lru import Lru
from understudy.actors.serving import Server
from understudy.actors.tools.messages import HOST, ListTools
from understudy.runtime import ChildSpec, Deferred, RuntimeFault, receive

MAX_AGE = 30.0
"""Seconds that an agent is believed without asking the database: another node may have changed it."""
REMEMBERED = 10_000
"""How many agents are remembered at most."""

R = TypeVar("R")


@attrs.frozen
class _Known:
    agent: AgentView
    workspace_name: str | None
    read_at: float


class Agents(Server):
    """Resolves from what it read in the last 30 s; a refusal, and whatever people look at, comes from the database.

    A change made here holds at once, and so does a change of a skill: agents are remembered without theirs.
    """

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(
        self,
        builtin: Iterable[AgentView],
        store: AgentStore,
        providers: Collection[str] = (),
        skills: Skills | None = None,
        now: Callable[[], datetime] = utc_now,
        seeds: Iterable[AgentView] = (),
        texts: Texts | None = None,
        roster: Roster | None = None,
    ) -> None:
        builtin, self._seeds = tuple(builtin), tuple(seeds)
        self._catalogue = Catalogue(
            builtin,
            store,
            seeds=self._seeds,
            providers=providers,
            tools=self._tools,
            skills=skills if skills is not None else {},
            texts=texts if texts is not None else {},
            roster=roster if roster is not None else NobodyElse(),
            now=now,
        )
        self._builtin = {agent.id: agent for agent in builtin}
        self._known: Lru[tuple[str, str], _Known] = Lru(REMEMBERED)
        self._generation = 0
        self._hits = self._misses = 0

    @receive
    def resolve(self, message: ResolveAgent) -> AgentConfig | Deferred[AgentConfig]:
        """The agent as it is run."""
        builtin = self._builtin.get(message.agent_id)
        if builtin is not None:
            return self._catalogue.runnable(builtin)
        known = self._known.get((message.workspace_id, message.agent_id))
        if known is not None and trio.current_time() - known.read_at <= MAX_AGE:
            self._hits += 1
            return self._catalogue.runnable(known.agent, known.workspace_name)
        self._misses += 1
        return self.answer(message, self._resolve, message)

    @receive
    def list_agents(self, message: ListAgents) -> Deferred[AgentPage]:
        """A page of agents."""
        return self.answer(message, self._catalogue.list, message)

    @receive
    def get(self, message: GetAgent) -> Deferred[AgentView]:
        """One agent."""
        return self.answer(message, self._catalogue.get, message.workspace_id, message.agent_id)

    @receive
    def capabilities(self, message: ListCapabilities) -> Deferred[Capabilities]:
        """What an agent can do."""
        return self.answer(message, self._catalogue.capabilities, message.workspace_id, message.agent_id)

    @receive
    def create(self, message: CreateAgent) -> Deferred[AgentView]:
        """Make an agent."""
        return self.answer(message, self._change, message, self._catalogue.create)

    @receive
    def replace(self, message: ReplaceAgent) -> Deferred[AgentView]:
        """Give an agent another configuration."""
        return self.answer(message, self._change, message, self._catalogue.replace)

    @receive
    def roll_back(self, message: RollBack) -> Deferred[AgentView]:
        """Give an agent a configuration it had."""
        return self.answer(message, self._change, message, self._catalogue.roll_back)

    @receive
    def delete(self, message: DeleteAgent) -> Deferred[None]:
        """Delete an agent."""
        return self.answer(message, self._change, message, self._catalogue.delete)

    @receive
    def list_versions(self, message: ListVersions) -> Deferred[VersionPage]:
        """A page of an agent's versions."""
        return self.answer(message, self._catalogue.versions, message)

    @receive
    def get_version(self, message: GetVersion) -> Deferred[VersionView]:
        """One version of an agent."""
        return self.answer(message, self._catalogue.version, message)

    @receive
    def label_version(self, message: LabelVersion) -> Deferred[VersionView]:
        """Label a version of an agent."""
        return self.answer(message, self._catalogue.label, message)

    def snapshot(self) -> Mapping[str, object]:
        """Which agents come with the node, and how much is remembered of the others."""
        models = {
            agent.id: f"{agent.document.model.provider}/{agent.document.model.model_id}"
            for agent in self._builtin.values()
        }
        seeded = [agent.id for agent in self._seeds]
        return {
            "builtin": models,
            "configured": seeded,
            "known_agents": len(self._known),
            "hits": self._hits,
            "misses": self._misses,
        }

    async def _resolve(self, message: ResolveAgent) -> AgentConfig:
        generation, read_at = self._generation, trio.current_time()
        agent, workspace_name = await self._catalogue.resolve(message.workspace_id, message.agent_id)
        # A read that was under way when an agent changed may be from before: it is not kept.
        if generation == self._generation:
            self._known.put((message.workspace_id, message.agent_id), _Known(agent, workspace_name, read_at))
        return self._catalogue.runnable(agent, workspace_name)

    async def _change(self, message: Any, change: Callable[[Any], Awaitable[R]]) -> R:
        try:
            return await change(message)
        finally:
            # Whatever became of it: a change whose answer was lost may have been made.
            self._generation += 1
            self._known.forget((message.author.workspace_id, message.agent_id))

    async def _tools(self) -> tuple[ToolSpec, ...]:
        try:
            return (await self.system.ask(HOST, ListTools())).tools
        except RuntimeFault as fault:
            raise Unavailable("the tools cannot be looked up at the moment; try again") from fault


def agents_spec(
    model: str,
    store: AgentStore,
    *,
    providers: Collection[str] = (),
    skills: Skills | None = None,
    now: Callable[[], datetime] = utc_now,
    seeds: Sequence[AgentView] = (),
    texts: Texts | None = None,
    roster: Roster | None = None,
) -> ChildSpec:
    """The child at `AGENTS`, with the built-in agent on *model* (``provider/model``).

    *seeds* are the agents of the configuration; one of them that has the built-in agent's id takes its place.
    """
    builtin = next((agent for agent in seeds if agent.id == CHAD), None) or chad(model)
    others = tuple(agent for agent in seeds if agent.id != CHAD)
    return ChildSpec(AGENTS, Agents, args=((builtin,), store, providers, skills, now, others, texts, roster))
