"""What agents need of the storage."""

from datetime import datetime
from typing import Protocol

from understudy.storage.records import Agent, AgentVersion, AuditEntry, Grant, Workspace


class AgentStore(Protocol):
    """Agents as one workspace sees them; each may raise `StoreUnavailable`. See `storage.agents` for the whole."""

    async def create(self, agent: Agent, audit: AuditEntry) -> None:
        """Store a new agent. Raises `StoreConflict`."""
        ...

    async def find(self, workspace_id: str, agent_id: str) -> Agent | None:
        """The workspace's own agent of this id, else the global one."""
        ...

    async def is_elsewhere(self, workspace_id: str, agent_id: str) -> bool:
        """Whether some other workspace has an agent of this id."""
        ...

    async def list(self, workspace_id: str) -> tuple[Agent, ...]:
        """All agents of the workspace and all global ones, by id."""
        ...

    async def revise(
        self, workspace_id: str, agent_id: str, version: AgentVersion, audit: AuditEntry, *, expected: str | None = None
    ) -> Agent | None:
        """Add a version to the workspace's own agent. Raises `StoreConflict` (``version``)."""
        ...

    async def delete(
        self, workspace_id: str, agent_id: str, audit: AuditEntry, *, now: datetime, expected: str | None = None
    ) -> bool:
        """Delete the workspace's own agent; whether there was one. Raises `StoreConflict` (``version``)."""
        ...

    async def versions(
        self, workspace_id: str, agent_id: str, *, limit: int = 100, offset: int = 0
    ) -> tuple[tuple[AgentVersion, ...], int]:
        """A page of versions, newest first, and how many there are."""
        ...

    async def version(self, workspace_id: str, agent_id: str, version: int) -> AgentVersion | None:
        """One version."""
        ...

    async def label(
        self, workspace_id: str, agent_id: str, version: int, label: str | None, audit: AuditEntry
    ) -> AgentVersion | None:
        """Label a version of the workspace's own agent."""
        ...


class GrantedAgents(Protocol):
    """Agents of other workspaces that one workspace may run at *now*; each may raise `StoreUnavailable`."""

    async def granted(self, workspace_id: str, agent_id: str, *, now: datetime) -> tuple[Agent, Grant] | None:
        """The one that it knows by this id."""
        ...

    async def all_granted(self, workspace_id: str, *, now: datetime) -> tuple[tuple[Agent, Grant], ...]:
        """All of them, by id."""
        ...


class Workspaces(Protocol):
    """The workspaces that agents run in."""

    async def find(self, workspace_id: str) -> Workspace | None:
        """The workspace. Raises `StoreUnavailable`."""
        ...


class AgentStores(Protocol):
    """The three together."""

    @property
    def agents(self) -> AgentStore:
        """Agents of workspaces, and everybody's."""
        ...

    @property
    def grants(self) -> GrantedAgents:
        """Agents of other workspaces."""
        ...

    @property
    def workspaces(self) -> Workspaces:
        """Where they run."""
        ...
