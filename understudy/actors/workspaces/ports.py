"""What workspaces need of the storage; each may raise `StoreUnavailable`. See `storage.workspaces` for the whole."""

from datetime import datetime
from typing import Protocol

from understudy.storage.records import (
    Activity,
    Agent,
    AuditEntry,
    Grant,
    Member,
    MemberChange,
    Membership,
    Workspace,
    WorkspaceChange,
    WorkspaceRole,
)


class WorkspaceStore(Protocol):
    """Workspaces and memberships. A change by somebody who may not make it is refused with `NotAllowed`."""

    async def memberships(self, uid: str) -> tuple[Membership, ...]:
        """The user's memberships, oldest first."""
        ...

    async def find(self, workspace_id: str) -> Workspace | None:
        """The workspace."""
        ...

    async def members(self, workspace_id: str) -> tuple[Member, ...]:
        """Everybody who belongs to it, oldest membership first."""
        ...

    async def create(self, workspace: Workspace, audit: AuditEntry) -> None:
        """Store a new workspace. Raises `StoreConflict`."""
        ...

    async def change(self, workspace_id: str, by: str, change: WorkspaceChange, audit: AuditEntry) -> Workspace:
        """Apply the change; the workspace as it is then. Raises `NotAllowed`, `StoreConflict`."""
        ...

    async def set_member(
        self, workspace_id: str, by: str, who: str, role: WorkspaceRole, audit: AuditEntry, *, now: datetime
    ) -> tuple[Member, MemberChange]:
        """Give the user (id or e-mail address) this role. Raises `NotAllowed`, `Missing`, `StoreConflict`."""
        ...

    async def remove_member(self, workspace_id: str, by: str, uid: str, audit: AuditEntry) -> None:
        """Make the user a member no more. Raises `NotAllowed`, `Missing`, `StoreConflict`."""
        ...

    async def activity(self, workspace_id: str, *, since: datetime, until: datetime) -> Activity:
        """What was done in the workspace from *since* until just before *until*."""
        ...


class GrantStore(Protocol):
    """Grants. A change by somebody who may not make it is refused with `NotAllowed`."""

    async def granted(self, workspace_id: str, agent_id: str, *, now: datetime) -> tuple[Agent, Grant] | None:
        """The agent that the workspace was granted under this id."""
        ...

    async def all_granted(self, workspace_id: str, *, now: datetime) -> tuple[tuple[Agent, Grant], ...]:
        """Every agent that it was granted, by id."""
        ...

    async def of_workspace(self, workspace_id: str) -> tuple[Grant, ...]:
        """The grants that it gave and those it was given, oldest first."""
        ...

    async def put(self, grant: Grant, by: str, audit: AuditEntry) -> tuple[Grant, bool]:
        """Give or change a grant; and whether it is new. Raises `NotAllowed`, `Missing`, `StoreConflict`."""
        ...

    async def revoke(self, workspace_id: str, by: str, which: str | tuple[str, str], audit: AuditEntry) -> None:
        """Delete a grant, by its id or by receiver and agent. Raises `NotAllowed`, `Missing`."""
        ...

    async def purge_expired(self, *, before: datetime) -> int:
        """Delete the grants that expired before then; how many."""
        ...


class WorkspaceStores(Protocol):
    """The two together."""

    @property
    def workspaces(self) -> WorkspaceStore:
        """Workspaces and who belongs to them."""
        ...

    @property
    def grants(self) -> GrantStore:
        """What workspaces let each other run."""
        ...
