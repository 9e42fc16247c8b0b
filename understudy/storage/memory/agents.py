"""Agents and their versions in memory."""

from collections.abc import Iterable
from datetime import datetime

import attrs

from understudy.storage.agents import MOST_AGENTS, as_stored
from understudy.storage.errors import StoreConflict, Unstorable
from understudy.storage.memory.tables import Tables
from understudy.storage.records import Agent, AgentVersion, AuditEntry


class MemoryAgents:
    """See `understudy.storage.agents.AgentRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def create(self, agent: Agent, audit: AuditEntry) -> None:
        """As the real one."""
        self._tables.check()
        if agent.key in self._tables.agents:
            return
        if agent.workspace_id is not None and agent.workspace_id not in self._tables.workspaces:
            raise Unstorable("the workspace does not exist")
        siblings = [other for other in self._live() if other.workspace_id == agent.workspace_id]
        if agent.workspace_id is not None and len(siblings) >= MOST_AGENTS:
            raise StoreConflict("number of agents")
        if any(other.id == agent.id for other in siblings):
            raise StoreConflict("agent id")
        first = _stored(agent.current, agent.current.version)
        self._tables.agents[agent.key] = attrs.evolve(agent, current=first)
        self._tables.agent_versions[agent.key] = [first]
        self._tables.append_audit(audit)

    async def find(self, workspace_id: str, agent_id: str) -> Agent | None:
        """As the real one."""
        self._tables.check()
        for owner in (workspace_id, None):
            if (agent := self._own(owner, agent_id)) is not None:
                return agent
        return None

    async def is_elsewhere(self, workspace_id: str, agent_id: str) -> bool:
        """As the real one."""
        self._tables.check()
        return any(agent.id == agent_id and agent.workspace_id not in {None, workspace_id} for agent in self._live())

    async def list(self, workspace_id: str) -> tuple[Agent, ...]:
        """As the real one."""
        self._tables.check()
        ids = sorted({agent.id for agent in self._live() if agent.workspace_id in {None, workspace_id}})
        found = [await self.find(workspace_id, agent_id) for agent_id in ids]
        return tuple(agent for agent in found if agent is not None)

    async def revise(
        self, workspace_id: str, agent_id: str, version: AgentVersion, audit: AuditEntry, *, expected: str | None = None
    ) -> Agent | None:
        """As the real one."""
        self._tables.check()
        agent = self._own(workspace_id, agent_id)
        if agent is None or any(known.id == version.id for known in self._tables.agent_versions[agent.key]):
            return await self.find(workspace_id, agent_id) if agent is not None else None
        self._expect(agent, expected)
        following = _stored(version, agent.current.version + 1)
        if agent.current.config != following.config:
            self._tables.agent_versions[agent.key].append(following)
            self._tables.agents[agent.key] = attrs.evolve(agent, current=following, updated_at=following.created_at)
            self._audit(audit, following.version)
        return await self.find(workspace_id, agent_id)

    async def delete(
        self, workspace_id: str, agent_id: str, audit: AuditEntry, *, now: datetime, expected: str | None = None
    ) -> bool:
        """As the real one."""
        self._tables.check()
        agent = self._own(workspace_id, agent_id)
        if agent is None:
            return any(line.entry.id == audit.id for line in self._tables.audit)
        self._expect(agent, expected)
        self._tables.deleted_agents.add(agent.key)
        self._audit(audit, agent.current.version)
        return True

    async def versions(
        self, workspace_id: str, agent_id: str, *, limit: int = 100, offset: int = 0
    ) -> tuple[tuple[AgentVersion, ...], int]:
        """As the real one."""
        agent = await self.find(workspace_id, agent_id)
        if agent is None:
            return (), 0
        found = self._tables.agent_versions[agent.key]
        return tuple(reversed(found))[offset : offset + limit], len(found)

    async def version(self, workspace_id: str, agent_id: str, version: int) -> AgentVersion | None:
        """As the real one."""
        found, _ = await self.versions(workspace_id, agent_id, limit=2**31)
        return next((known for known in found if known.version == version), None)

    async def label(
        self, workspace_id: str, agent_id: str, version: int, label: str | None, audit: AuditEntry
    ) -> AgentVersion | None:
        """As the real one."""
        self._tables.check()
        agent = self._own(workspace_id, agent_id)
        known = self._tables.agent_versions[agent.key] if agent is not None else []
        if agent is None or not 0 < version <= len(known):
            return None
        labelled = known[version - 1] = attrs.evolve(known[version - 1], label=label)
        if agent.current.version == version:
            self._tables.agents[agent.key] = attrs.evolve(agent, current=labelled)
        self._tables.append_audit(audit)
        return labelled

    def _live(self) -> Iterable[Agent]:
        return [agent for key, agent in self._tables.agents.items() if key not in self._tables.deleted_agents]

    def _own(self, workspace_id: str | None, agent_id: str) -> Agent | None:
        return next((a for a in self._live() if (a.workspace_id, a.id) == (workspace_id, agent_id)), None)

    def _expect(self, agent: Agent, expected: str | None) -> None:
        if expected is not None and agent.current.id != expected:
            raise StoreConflict("version")

    def _audit(self, audit: AuditEntry, version: int) -> None:
        self._tables.append_audit(attrs.evolve(audit, metadata={**audit.metadata, "version": version}))


def _stored(version: AgentVersion, number: int) -> AgentVersion:
    return attrs.evolve(version, version=number, config=as_stored(version.config))
