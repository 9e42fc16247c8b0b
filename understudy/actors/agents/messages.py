"""What can be asked about agents.

Everything is asked on behalf of a workspace. It sees its own agents, those that are everybody's and those that another
workspace has granted to it, in this order: nobody can put another agent in the place of one that it has. An agent that
another workspace has and this one was not granted is refused with `Forbidden`, one that nobody has with `NotFound`;
everything may be refused with `Unavailable`. A change is refused with `Forbidden` for an agent that is not the
workspace's own, as is the history of one that was granted, and with `PreconditionFailed` when ``expected`` is given and
no longer the `AgentView.revision` of the agent. A change is committed when it is answered, and holds for every turn
that begins from then on.
"""

from datetime import datetime
from enum import StrEnum

import attrs

from understudy.actors.agents.config import AgentConfig as AgentConfig
from understudy.actors.agents.document import AgentDocument as AgentDocument
from understudy.actors.agents.document import AgentId as AgentId
from understudy.actors.audit.messages import Author as Author
from understudy.runtime import Ask

AGENTS = "agents"
"""The address of the agents actor."""


class Source(StrEnum):
    """Whose an agent is."""

    WORKSPACE = "workspace"
    GRANTED = "granted"
    GLOBAL = "global"


@attrs.frozen
class GrantView:
    """Until when a workspace may run an agent of another (None: for good), and whether it may only talk to it."""

    readonly: bool
    expires_at: datetime | None


@attrs.frozen
class AgentView:
    """An agent as a workspace sees it. ``revision`` names its present version as no other ever will be named.

    What comes with the server has no times and nobody who made it. What another workspace has granted has a ``grant``,
    and that workspace's ``workspace_id``.
    """

    id: str
    workspace_id: str | None
    document: AgentDocument
    version: int
    revision: str
    source: Source
    created_at: datetime | None = None
    updated_at: datetime | None = None
    grant: GrantView | None = None


@attrs.frozen
class VersionView:
    """One version of an agent. ``document`` is what the agent was."""

    version: int
    document: AgentDocument
    current: bool
    label: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None


@attrs.frozen
class AgentPage:
    """Some agents, by id, of ``total``."""

    agents: tuple[AgentView, ...]
    total: int


@attrs.frozen
class VersionPage:
    """Some versions, newest first, of ``total``."""

    versions: tuple[VersionView, ...]
    total: int


@attrs.frozen
class Capability:
    """A tool that an agent may call. ``source`` is ``allow`` or ``skill:<id>``."""

    name: str
    description: str
    source: str


@attrs.frozen
class Capabilities:
    """What an agent can do. ``tools`` are those that exist; ``denied`` are its own words."""

    agent_id: str
    skills: tuple[str, ...]
    tools: tuple[Capability, ...]
    denied: tuple[str, ...]


@attrs.frozen
class ResolveAgent(Ask[AgentConfig]):
    """The configuration to run the agent with in the workspace. Does not block when it was asked for in the last 30 s.

    Refused with `ModelRestricted` when the workspace does not allow the agent's provider or model. Without a
    workspace (an empty id) it is what the node itself would run.
    """

    workspace_id: str
    agent_id: str


@attrs.frozen
class WorkspaceChanged:
    """Tell: a workspace is not what it was (its name, its settings, what it allows); forget what was read of it."""

    workspace_id: str


@attrs.frozen
class GrantsChanged:
    """Tell: some grants are not what they were; forget which agents were found by one."""


@attrs.frozen
class ListAgents(Ask[AgentPage]):
    """The agents that a workspace may run: its own, everybody's, granted ones. Without ``limit`` it is all of them."""

    workspace_id: str
    limit: int | None = None
    offset: int = 0


@attrs.frozen
class GetAgent(Ask[AgentView]):
    """One agent, as it is now."""

    workspace_id: str
    agent_id: str


@attrs.frozen
class ListCapabilities(Ask[Capabilities]):
    """What one agent can do, as it is now."""

    workspace_id: str
    agent_id: str


@attrs.frozen
class CheckAgent(Ask[AgentDocument]):
    """What `CreateAgent` would make of the document: nothing is stored.

    Refused with `Invalid`; `Conflict` when the id is one of everybody's agents'.
    """

    agent_id: str
    document: AgentDocument


@attrs.frozen
class CreateAgent(Ask[AgentView]):
    """A new agent. Refused with `Invalid`; `Conflict` when the id is taken or the workspace has no room for more."""

    author: Author
    agent_id: str
    document: AgentDocument


@attrs.frozen
class ReplaceAgent(Ask[AgentView]):
    """Another configuration, which becomes the next version unless it is the present one. Refused with `Invalid`."""

    author: Author
    agent_id: str
    document: AgentDocument
    expected: str | None = None


@attrs.frozen
class DeleteAgent(Ask[None]):
    """The agent is not to be found any more; its sessions stay."""

    author: Author
    agent_id: str
    expected: str | None = None


@attrs.frozen
class ListVersions(Ask[VersionPage]):
    """The versions of an agent."""

    workspace_id: str
    agent_id: str
    limit: int = 100
    offset: int = 0


@attrs.frozen
class GetVersion(Ask[VersionView]):
    """One version of an agent. Refused with `NotFound` also when the agent has no such version."""

    workspace_id: str
    agent_id: str
    version: int


@attrs.frozen
class RollBack(Ask[AgentView]):
    """Make the agent what it was: a new version, labelled with where it is from. As `ReplaceAgent` otherwise."""

    author: Author
    agent_id: str
    version: int
    expected: str | None = None


@attrs.frozen
class LabelVersion(Ask[VersionView]):
    """Give a version a label, or take it away with None. Refused with `NotFound` also for an unknown version."""

    author: Author
    agent_id: str
    version: int
    label: str | None
