"""The actor that knows every agent's configuration."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from understudy.actors.agents.builtin import chad
from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.messages import AGENTS, ListAgents, ResolveAgent
from understudy.actors.errors import NotFound
from understudy.runtime import Actor, ChildSpec, receive


class Agents(Actor):
    """Knows the agents that come with the node; they are the same in every workspace."""

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(self, agents: Iterable[AgentConfig]) -> None:
        self._agents = {agent.id: agent for agent in agents}

    @receive
    def resolve(self, message: ResolveAgent) -> AgentConfig:
        """The agent's configuration."""
        agent = self._agents.get(message.agent_id)
        if agent is None:
            raise NotFound("there is no such agent in this workspace")
        return agent

    @receive
    def list_agents(self, message: ListAgents) -> tuple[AgentConfig, ...]:
        """All agents, by id."""
        return tuple(self._agents[agent_id] for agent_id in sorted(self._agents))

    def snapshot(self) -> Mapping[str, object]:
        """Which agents there are, and on which models."""
        return {agent.id: f"{agent.provider}/{agent.model_id}" for agent in self._agents.values()}


def agents_spec(model: str) -> ChildSpec:
    """The child at `AGENTS`, with the built-in agent on *model* (``provider/model``)."""
    return ChildSpec(AGENTS, Agents, args=((chad(model),),))
