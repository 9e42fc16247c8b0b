"""What can be asked about agents."""

import attrs

from understudy.actors.agents.config import AgentConfig as AgentConfig
from understudy.runtime import Ask

AGENTS = "agents"
"""The address of the agents actor."""


@attrs.frozen
class ResolveAgent(Ask[AgentConfig]):
    """The configuration of the agent that a workspace knows by this id. Refused with `NotFound`. Does not block."""

    workspace_id: str
    agent_id: str


@attrs.frozen
class ListAgents(Ask[tuple[AgentConfig, ...]]):
    """Every agent that a workspace may run, by id. Does not block."""

    workspace_id: str
