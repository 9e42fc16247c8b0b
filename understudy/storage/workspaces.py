"""Tenants and who belongs to them."""

from understudy.storage.records import Membership, Workspace, WorkspaceRole
from understudy.storage.repository import Repository, Row

_SELECT = """
SELECT w.id, w.name, w.owner_id, w.plan, w.created_at, w.settings, m.uid, m.role, m.joined_at
FROM workspace_members m JOIN workspaces w ON w.id = m.workspace_id
"""


class WorkspaceRepository(Repository):
    """Memberships. They are made with the user (see `UserRepository.create`)."""

    async def memberships(self, uid: str) -> tuple[Membership, ...]:
        """The workspaces of the user, oldest membership first."""
        found = await self._rows(f"{_SELECT} WHERE m.uid = %s ORDER BY m.joined_at, w.id", uid)
        return tuple(_membership(row) for row in found)

    async def membership(self, uid: str, workspace_id: str) -> Membership | None:
        """The user's membership of one workspace, if they have it."""
        row = await self._row(f"{_SELECT} WHERE m.uid = %s AND m.workspace_id = %s", uid, workspace_id)
        return _membership(row) if row else None


def _membership(row: Row) -> Membership:
    uid, role, joined_at = row[6:]
    return Membership(Workspace(*row[:6]), uid, WorkspaceRole(role), joined_at)
