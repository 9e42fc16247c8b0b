"""The JSON of `/agents`. The configuration itself is the actors' own document, which has its limits on it."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from understudy.actors.agents.messages import AgentDocument, AgentId, Source
from understudy.http.schemas import Wire


class NewAgent(AgentDocument, frozen=True, kw_only=True):
    """A new agent."""

    id: AgentId


class AgentReplacement(AgentDocument, frozen=True, kw_only=True):
    """Another configuration, whole: what is left out has its default. An ``id`` must be that of the path."""

    id: AgentId | None = None


class AgentGrant(Wire, frozen=True):
    """Until when the workspace may run another one's agent (null: for good), and whether it may only talk to it."""

    readonly: bool
    expires_at: datetime | None


class Agent(AgentDocument, frozen=True, kw_only=True):
    """An agent. What comes with the server has no workspace and no times.

    One that was granted to the workspace says how, and whose it is.
    """

    id: str
    workspace_id: str | None
    version: int
    source: Source
    created_at: datetime | None
    updated_at: datetime | None
    grant: AgentGrant | UnsetType = UNSET


class AgentList(Wire, frozen=True):
    """Agents by id. Without ``limit`` it is all of them."""

    agents: list[Agent]
    total: int
    limit: int | None
    offset: int


class AgentCapability(Wire, frozen=True):
    """A tool the agent may call, and why: it is allowed (``allow``), or a skill brings it (``skill:<id>``)."""

    name: str
    description: str
    source: str


class AgentCapabilities(Wire, frozen=True):
    """What an agent can do: the tools it allows and those of its skills, without what it denies."""

    agent_id: str
    skills: tuple[str, ...]
    tools: list[AgentCapability]
    denied: tuple[str, ...]


class AgentVersionEntry(Wire, frozen=True):
    """A version of an agent."""

    version: int
    label: str | None
    created_by: str | None
    created_at: datetime | None
    current: bool


class AgentVersionDetail(AgentVersionEntry, frozen=True, kw_only=True):
    """A version of an agent, and what the agent was."""

    agent_id: str
    config: AgentDocument


class VersionLabel(Wire, frozen=True):
    """A version's label; null takes it away."""

    label: Annotated[str, Meta(min_length=1, max_length=100)] | None
