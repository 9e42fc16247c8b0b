"""Grants in memory."""

from datetime import datetime

import attrs

from understudy.storage.errors import Missing, NotAllowed, StoreConflict
from understudy.storage.grants import MOST_GRANTS
from understudy.storage.membership import suffices
from understudy.storage.memory.tables import Tables
from understudy.storage.records import Agent, AuditEntry, Grant, WorkspaceRole
from understudy.storage.tenancy import about


class MemoryGrants:
    """See `understudy.storage.grants.GrantRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def granted(self, workspace_id: str, agent_id: str, *, now: datetime) -> tuple[Agent, Grant] | None:
        """As the real one."""
        found = await self.all_granted(workspace_id, now=now)
        return next((each for each in found if each[0].id == agent_id), None)

    async def all_granted(self, workspace_id: str, *, now: datetime) -> tuple[tuple[Agent, Grant], ...]:
        """As the real one."""
        found: dict[str, tuple[Agent, Grant]] = {}
        for grant in await self.of_workspace(workspace_id):
            agent_key = self._tables.grants[grant.id][1]
            if (
                grant.receiving_workspace_id == workspace_id
                and grant.counts(now)
                and agent_key not in self._tables.deleted_agents
            ):
                found.setdefault(grant.agent_id, (self._tables.agents[agent_key], grant))
        return tuple(found[agent_id] for agent_id in sorted(found))

    async def of_workspace(self, workspace_id: str) -> tuple[Grant, ...]:
        """As the real one."""
        self._tables.check()
        found = [
            grant
            for grant, _ in self._tables.grants.values()
            if workspace_id in {grant.granting_workspace_id, grant.receiving_workspace_id}
        ]
        return tuple(sorted(found, key=lambda grant: (grant.created_at, grant.id)))

    async def put(self, grant: Grant, by: str, audit: AuditEntry) -> tuple[Grant, bool]:
        """As the real one."""
        self._tables.check()
        self._check_role(grant.granting_workspace_id, by)
        if grant.receiving_workspace_id not in self._tables.workspaces:
            raise Missing("workspace")
        keys = [
            key
            for key, agent in self._tables.agents.items()
            if (agent.workspace_id, agent.id) == (grant.granting_workspace_id, grant.agent_id)
            and key not in self._tables.deleted_agents
        ]
        if not keys:
            raise Missing("agent")
        known = next((each for each, _ in self._tables.grants.values() if _triple(each) == _triple(grant)), None)
        if known is None:
            self._check_room(grant)
            put = grant
        else:
            put = attrs.evolve(known, readonly=grant.readonly, expires_at=grant.expires_at, updated_at=grant.updated_at)
        self._tables.grants[put.id] = (put, keys[0])
        self._tables.append_audit(audit)
        return put, known is None or known.id == grant.id

    async def revoke(self, workspace_id: str, by: str, which: str | tuple[str, str], audit: AuditEntry) -> None:
        """As the real one."""
        self._tables.check()
        self._check_role(workspace_id, by)
        for grant, _ in self._tables.grants.values():
            if isinstance(which, str):
                meant = grant.id == which and workspace_id in _triple(grant)[:2]
            else:
                meant = _triple(grant) == (workspace_id, *which)
            if meant:
                del self._tables.grants[grant.id]
                told = {"grant": grant.id, "from": grant.granting_workspace_id, "to": grant.receiving_workspace_id}
                self._tables.append_audit(about(audit, **told))
                return
        raise Missing("grant")

    async def purge_expired(self, *, before: datetime) -> int:
        """As the real one."""
        self._tables.check()
        old = [
            grant.id
            for grant, key in self._tables.grants.values()
            if (grant.expires_at is not None and grant.expires_at < before) or key in self._tables.deleted_agents
        ]
        for grant_id in old:
            del self._tables.grants[grant_id]
        return len(old)

    def _check_role(self, workspace_id: str, by: str) -> None:
        role, _ = self._tables.members.get((workspace_id, by), (None, None))
        if not suffices(role, WorkspaceRole.ADMIN):
            raise NotAllowed("role")

    def _check_room(self, grant: Grant) -> None:
        others = [each for each, _ in self._tables.grants.values()]
        given = sum(each.granting_workspace_id == grant.granting_workspace_id for each in others)
        received = sum(each.receiving_workspace_id == grant.receiving_workspace_id for each in others)
        for count, what in ((given, "given"), (received, "received")):
            if count >= MOST_GRANTS:
                raise StoreConflict(f"number of grants {what}")


def _triple(grant: Grant) -> tuple[str, str, str]:
    return grant.granting_workspace_id, grant.receiving_workspace_id, grant.agent_id
