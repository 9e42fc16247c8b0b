"""Memory profiles without a database."""

from datetime import datetime

import attrs
import msgspec

from understudy.storage.encoding import encode
from understudy.storage.errors import StoreConflict, Unstorable
from understudy.storage.memory.tables import Tables
from understudy.storage.memory_profiles import MOST_PROFILES
from understudy.storage.records import AuditEntry
from understudy.storage.remembered import MemoryProfile


class MemoryMemoryProfiles:
    """See `understudy.storage.memory_profiles.MemoryProfilesRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def list(self, workspace_id: str) -> tuple[MemoryProfile, ...]:
        """As the real one."""
        self._tables.check()
        mine = (each for each in self._tables.memory_profiles.values() if each.workspace_id == workspace_id)
        return tuple(sorted(mine, key=lambda each: each.name))

    async def find(self, workspace_id: str, profile_id: str) -> MemoryProfile | None:
        """As the real one."""
        self._tables.check()
        found = self._tables.memory_profiles.get(profile_id)
        return found if found is not None and found.workspace_id == workspace_id else None

    async def create(self, profile: MemoryProfile, audit: AuditEntry) -> None:
        """As the real one."""
        there = await self.list(profile.workspace_id)
        if any(each.id == profile.id for each in there):
            return
        if len(there) >= MOST_PROFILES:
            raise StoreConflict("number of memory profiles")
        if profile.workspace_id not in self._tables.workspaces:
            raise Unstorable("the workspace does not exist")
        await self._put(profile, audit)

    async def replace(self, profile: MemoryProfile, audit: AuditEntry) -> MemoryProfile | None:
        """As the real one."""
        before = await self.find(profile.workspace_id, profile.id)
        if before is None:
            return None
        return await self._put(attrs.evolve(profile, created_at=before.created_at), audit)

    async def delete(self, workspace_id: str, profile_id: str, audit: AuditEntry) -> bool:
        """As the real one."""
        if await self.find(workspace_id, profile_id) is None:
            return any(line.entry.id == audit.id for line in self._tables.audit)
        del self._tables.memory_profiles[profile_id]
        for agent, assigned in list(self._tables.memory_assignments.items()):
            if assigned == profile_id:
                del self._tables.memory_assignments[agent]
        self._tables.append_audit(audit)
        return True

    async def assign(
        self, workspace_id: str, agent_id: str, profile_id: str | None, audit: AuditEntry, *, now: datetime
    ) -> bool:
        """As the real one."""
        del now
        self._tables.check()
        if profile_id is None:
            self._tables.memory_assignments.pop((workspace_id, agent_id), None)
        elif await self.find(workspace_id, profile_id) is None:
            return False
        else:
            self._tables.memory_assignments[workspace_id, agent_id] = profile_id
        self._tables.append_audit(audit)
        return True

    async def assigned(self, workspace_id: str, agent_id: str) -> MemoryProfile | None:
        """As the real one."""
        self._tables.check()
        profile_id = self._tables.memory_assignments.get((workspace_id, agent_id))
        return self._tables.memory_profiles[profile_id] if profile_id is not None else None

    async def _put(self, profile: MemoryProfile, audit: AuditEntry) -> MemoryProfile:
        there = await self.list(profile.workspace_id)
        if any(each.name == profile.name and each.id != profile.id for each in there):
            raise StoreConflict("memory profile name")
        kept = attrs.evolve(profile, config=msgspec.json.decode(encode(profile.config)))
        self._tables.memory_profiles[profile.id] = kept
        self._tables.append_audit(audit)
        return kept
