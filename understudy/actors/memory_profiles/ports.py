"""What memory profiles need of the storage."""

from datetime import datetime
from typing import Protocol

from understudy.storage.records import AuditEntry
from understudy.storage.remembered import MemoryProfile


class ProfileStore(Protocol):
    """Memory profiles of workspaces; each may raise `StoreUnavailable`. See `storage.memory_profiles`."""

    async def list(self, workspace_id: str) -> tuple[MemoryProfile, ...]:
        """All, by name."""
        ...

    async def find(self, workspace_id: str, profile_id: str) -> MemoryProfile | None:
        """One."""
        ...

    async def create(self, profile: MemoryProfile, audit: AuditEntry) -> None:
        """Add one. Raises `StoreConflict` for a taken name and when there are too many."""
        ...

    async def replace(self, profile: MemoryProfile, audit: AuditEntry) -> MemoryProfile | None:
        """Change one; None when there is none. Raises `StoreConflict` for a taken name."""
        ...

    async def delete(self, workspace_id: str, profile_id: str, audit: AuditEntry) -> bool:
        """Delete one; whether there was one."""
        ...

    async def assign(
        self, workspace_id: str, agent_id: str, profile_id: str | None, audit: AuditEntry, *, now: datetime
    ) -> bool:
        """Give an agent a profile or take it away; whether there is such a profile."""
        ...

    async def assigned(self, workspace_id: str, agent_id: str) -> MemoryProfile | None:
        """The profile that the agent has."""
        ...
