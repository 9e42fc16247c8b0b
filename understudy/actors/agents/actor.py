"""The actor that knows every agent."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import trio

from understudy.actors.agents.builtin import CHAD, chad
from understudy.actors.agents.catalogue import Catalogue
from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.messages import (
    AGENTS,
    AgentDocument,
    AgentPage,
    AgentView,
    Capabilities,
    CheckAgent,
    CreateAgent,
    DeleteAgent,
    GetAgent,
    GetVersion,
    GrantsChanged,
    GrantView,
    LabelVersion,
    ListAgents,
    ListCapabilities,
    ListVersions,
    ReplaceAgent,
    ResolveAgent,
    RollBack,
    VersionPage,
    VersionView,
    WorkspaceChanged,
)
from understudy.actors.agents.ports import AgentStores
from understudy.actors.agents.restrictions import run_in
from understudy.actors.agents.tooling import NobodyElse, Roster, Skills, Texts
from understudy.actors.clock import utc_now
from understudy.actors.errors import Unavailable
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.lru import Lru
from understudy.actors.serving import Server
from understudy.actors.tools.messages import HOST, ListTools
from understudy.runtime import ChildSpec, Deferred, RuntimeFault, receive
from understudy.storage.records import Workspace

MAX_AGE = 30.0
"""Seconds that an agent is believed without asking the database: another node may have changed it."""
REMEMBERED = 10_000
"""How many agents, and how many workspaces, are remembered at most."""

R = TypeVar("R")
K = TypeVar("K")
T = TypeVar("T")


@attrs.frozen
class _Known(Generic[T]):
    value: T
    read_at: float


class Agents(Server):
    """Resolves from what it read in the last 30 s; a refusal, and whatever people look at, comes from the database.

    A change made here holds at once, and so does a change of a skill: agents are remembered without theirs. So does the
    end of a grant, whether it was revoked here or expired.
    """

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(
        self,
        builtin: Iterable[AgentView],
        stores: AgentStores,
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
            stores.agents,
            stores.grants,
            seeds=self._seeds,
            providers=providers,
            tools=self._tools,
            skills=skills if skills is not None else {},
            texts=texts if texts is not None else {},
            roster=roster if roster is not None else NobodyElse(),
            now=now,
        )
        self._builtin = {agent.id: agent for agent in builtin}
        self._stores = stores
        self._now = now
        self._known: Lru[tuple[str, str], _Known[AgentView]] = Lru(REMEMBERED)
        # Apart from those, since a change to one is a change in workspaces that its author knows nothing of.
        self._granted: Lru[tuple[str, str], _Known[AgentView]] = Lru(REMEMBERED)
        self._workspaces: Lru[str, _Known[Workspace | None]] = Lru(REMEMBERED)
        self._generation = 0
        self._hits = self._misses = 0

    @receive
    def resolve(self, message: ResolveAgent) -> AgentConfig | Deferred[AgentConfig]:
        """The agent as it is run."""
        agent = self._remembered(message.workspace_id, message.agent_id)
        workspace = self._fresh(self._workspaces, message.workspace_id)
        if agent is not None and workspace is not None:
            self._hits += 1
            return run_in(self._catalogue.runnable(agent), workspace.value, agent.grant)
        self._misses += 1
        return self.answer(message, self._resolve, message)

    @receive
    def workspace_changed(self, message: WorkspaceChanged) -> None:
        """Read the workspace anew when it is next asked about."""
        self._generation += 1
        self._workspaces.forget(message.workspace_id)

    @receive
    def grants_changed(self, message: GrantsChanged) -> None:
        """Look for granted agents anew."""
        self._generation += 1
        self._granted.clear()

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
    def check(self, message: CheckAgent) -> Deferred[AgentDocument]:
        """See whether an agent could be made."""
        return self.answer(message, self._catalogue.check, message)

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

    def _remembered(self, workspace_id: str, agent_id: str) -> AgentView | None:
        """The agent, if it is known well enough to be run."""
        builtin = self._builtin.get(agent_id)
        if builtin is not None:
            return builtin
        known = self._fresh(self._known, (workspace_id, agent_id)) or self._fresh(
            self._granted, (workspace_id, agent_id)
        )
        if known is None or (known.value.grant is not None and not self._counts(known.value.grant)):
            return None
        return known.value

    def _counts(self, grant: GrantView) -> bool:
        return grant.expires_at is None or self._now() < grant.expires_at

    def _fresh(self, cache: Lru[K, _Known[T]], key: K) -> _Known[T] | None:
        known = cache.get(key)
        return known if known is not None and trio.current_time() - known.read_at <= MAX_AGE else None

    async def _resolve(self, message: ResolveAgent) -> AgentConfig:
        generation, read_at = self._generation, trio.current_time()
        workspace_id = message.workspace_id
        agent = await self._catalogue.get(workspace_id, message.agent_id)
        workspace = await self._stores.workspaces.find(workspace_id) if workspace_id else None
        # A read that was under way when something changed may be from before: it is not kept.
        if generation == self._generation:
            cache = self._known if agent.grant is None else self._granted
            cache.put((workspace_id, agent.id), _Known(agent, read_at))
            self._workspaces.put(workspace_id, _Known(workspace, read_at))
        return run_in(self._catalogue.runnable(agent), workspace, agent.grant)

    async def _change(self, message: Any, change: Callable[[Any], Awaitable[R]]) -> R:
        try:
            return await change(message)
        finally:
            # Whatever became of it: a change whose answer was lost may have been made.
            self._generation += 1
            self._known.forget((message.author.workspace_id, message.agent_id))
            self._granted.clear()

    async def _tools(self) -> tuple[ToolSpec, ...]:
        try:
            return (await self.system.ask(HOST, ListTools())).tools
        except RuntimeFault as fault:
            raise Unavailable("the tools cannot be looked up at the moment; try again") from fault


def agents_spec(
    model: str,
    stores: AgentStores,
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
    return ChildSpec(AGENTS, Agents, args=((builtin,), stores, providers, skills, now, others, texts, roster))
