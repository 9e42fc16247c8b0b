# ruff: noqa: S608  # queries are put together from constants of this package only; values are parameters
"""Tenants and who belongs to them."""

from datetime import datetime
from typing import Any

import psycopg.types.json

from understudy.storage.activity import read_activity
from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.errors import Missing, NotAllowed, StoreConflict
from understudy.storage.membership import (
    MOST_MEMBERSHIPS,
    MOST_OWNED,
    check_change,
    check_size,
    plan_membership,
    suffices,
)
from understudy.storage.records import (
    Activity,
    AuditEntry,
    Member,
    MemberChange,
    Membership,
    Workspace,
    WorkspaceChange,
    WorkspaceRole,
)
from understudy.storage.repository import Repository, Row, rows
from understudy.storage.rowsecurity import Tenant
from understudy.storage.tenancy import (
    WORKSPACE,
    about,
    hold,
    hold_as,
    insert_member,
    insert_workspace,
    read_workspace,
    roles,
)

_MINE = (
    f"SELECT {WORKSPACE}, m.uid, m.role, m.joined_at"
    " FROM workspace_members m JOIN workspaces w ON w.id = m.workspace_id"
)
_MEMBERS = (
    "SELECT m.uid, u.email, u.name, m.role, m.joined_at FROM workspace_members m JOIN users u ON u.id = m.uid"
    " WHERE m.workspace_id = %s"
)


class WorkspaceRepository(Repository):
    """Workspaces and memberships. A user's first workspace is made with the user (see `UserRepository.create`).

    A change, the check that whoever asks (*by*) may make it, and its line in the audit log are one transaction, which
    holds the workspace's row: changes to one workspace come one after the other. Who may not is refused with
    `NotAllowed` (``role``), also when there is no such workspace.
    """

    async def memberships(self, uid: str) -> tuple[Membership, ...]:
        """The workspaces of the user, oldest membership first."""
        found = await self._rows(f"{_MINE} WHERE m.uid = %s ORDER BY m.joined_at, w.id", uid)
        return tuple(_membership(row) for row in found)

    async def membership(self, uid: str, workspace_id: str) -> Membership | None:
        """The user's membership of one workspace, if they have it."""
        row = await self._row(f"{_MINE} WHERE m.uid = %s AND m.workspace_id = %s", uid, workspace_id)
        return _membership(row) if row else None

    async def find(self, workspace_id: str) -> Workspace | None:
        """The workspace, whoever asks: for what runs in it."""
        row = await self._row(f"SELECT {WORKSPACE} FROM workspaces w WHERE w.id = %s", workspace_id)
        return read_workspace(row) if row else None

    async def members(self, workspace_id: str) -> tuple[Member, ...]:
        """Everybody who belongs to the workspace, oldest membership first."""
        found = await self._rows(f"{_MEMBERS} ORDER BY m.joined_at, m.uid", workspace_id)
        return tuple(_member(row) for row in found)

    async def activity(self, workspace_id: str, *, since: datetime, until: datetime) -> Activity:
        """What was done in the workspace from *since* until just before *until*."""

        async def work(connection: Connection[Any]) -> Activity:
            return await read_activity(connection, workspace_id, since=since, until=until)

        return await self._run(work, tenant=Tenant(workspace_id=workspace_id))

    async def create(self, workspace: Workspace, audit: AuditEntry) -> None:
        """Store a new workspace, with its owner as the only member.

        Raises `StoreConflict`: ``number of workspaces`` that one user may own, ``number of memberships``, ``size of
        settings``.
        """
        check_size(workspace.settings)

        async def work(connection: Connection[Any]) -> None:
            # Held, so that requests that come at once count each other.
            await rows(connection, "SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", workspace.owner_id)
            if await rows(connection, "SELECT FROM workspaces WHERE id = %s", workspace.id):
                return  # our own first attempt, whose answer was lost
            owned = "SELECT count(*) FROM workspaces WHERE owner_id = %s"
            if (await rows(connection, owned, workspace.owner_id))[0][0] >= MOST_OWNED:
                raise StoreConflict("number of workspaces")
            await insert_workspace(connection, workspace)
            await _join(connection, workspace.id, workspace.owner_id, WorkspaceRole.OWNER, workspace.created_at)
            await record(connection, audit)

        await self._transact(work)

    async def change(self, workspace_id: str, by: str, change: WorkspaceChange, audit: AuditEntry) -> Workspace:
        """Apply the change; the workspace as it is then. Takes the role admin. Raises as `check_change`."""

        async def work(connection: Connection[Any]) -> Workspace:
            old = await hold_as(connection, workspace_id, by, WorkspaceRole.ADMIN)
            new = change.applied_to(old)
            if new == old:
                return old
            present = await roles(connection, workspace_id)
            check_change(old, new, present[by], len(present))
            restrictions = new.restrictions
            await rows(
                connection,
                "UPDATE workspaces SET name = %s, plan = %s, settings = %s, allowed_providers = %s,"
                " allowed_models = %s WHERE id = %s",
                new.name,
                new.plan,
                psycopg.types.json.Jsonb(dict(new.settings)),
                None if restrictions.providers is None else list(restrictions.providers),
                None if restrictions.models is None else list(restrictions.models),
                workspace_id,
            )
            await record(connection, audit)
            return new

        return await self._transact(work)

    async def set_member(
        self, workspace_id: str, by: str, who: str, role: WorkspaceRole, audit: AuditEntry, *, now: datetime
    ) -> tuple[Member, MemberChange]:
        """Give the user *who* (their id, or their e-mail address) this role; the member, and what had to be changed.

        Raises as `plan_membership`, and `Missing` (``user``), `StoreConflict` (``number of memberships`` of the user).
        """

        async def work(connection: Connection[Any]) -> tuple[Member, MemberChange]:
            workspace = await hold(connection, workspace_id)
            done = await rows(connection, "SELECT metadata->>'was' FROM audit_log WHERE id = %s", audit.id)
            if workspace is not None and done:
                # Our own first attempt, whose answer was lost.
                member = await _read_member(connection, workspace_id, await _user(connection, who))
                return member, MemberChange.ADDED if done[0][0] is None else MemberChange.CHANGED
            present = await roles(connection, workspace_id)
            if workspace is None or not suffices(present.get(by), WorkspaceRole.ADMIN):
                raise NotAllowed("role")  # before the user is looked up: nobody else learns here who has an account
            uid = await _user(connection, who)
            change = plan_membership(workspace.plan, present, by, uid, role)
            if change is MemberChange.ADDED:
                await _join(connection, workspace_id, uid, role, now)
            elif change is MemberChange.CHANGED:
                await rows(
                    connection,
                    "UPDATE workspace_members SET role = %s WHERE workspace_id = %s AND uid = %s",
                    role.value,
                    workspace_id,
                    uid,
                )
                await _keep_owner(connection, workspace)
            if change is not MemberChange.SAME:
                was = present[uid].value if uid in present else None
                await record(connection, about(audit, member=uid, role=role.value, was=was))
            return await _read_member(connection, workspace_id, uid), change

        return await self._transact(work)

    async def remove_member(self, workspace_id: str, by: str, uid: str, audit: AuditEntry) -> None:
        """Make the user a member no more. Raises as `plan_membership`."""

        async def work(connection: Connection[Any]) -> None:
            workspace = await hold(connection, workspace_id)
            if workspace is None:
                raise NotAllowed("role")
            if await is_recorded(connection, audit):
                return  # our own first attempt, whose answer was lost
            present = await roles(connection, workspace_id)
            plan_membership(workspace.plan, present, by, uid, None)
            await rows(
                connection, "DELETE FROM workspace_members WHERE workspace_id = %s AND uid = %s", workspace_id, uid
            )
            await _keep_owner(connection, workspace)
            await record(connection, about(audit, member=uid, was=present[uid].value))

        await self._transact(work)


async def _join(
    connection: Connection[Any], workspace_id: str, uid: str, role: WorkspaceRole, joined_at: datetime
) -> None:
    # Held, so that those who add one user to many workspaces at once count each other.
    await rows(connection, "SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", uid)
    count = "SELECT count(*) FROM workspace_members WHERE uid = %s"
    if (await rows(connection, count, uid))[0][0] >= MOST_MEMBERSHIPS:
        raise StoreConflict("number of memberships")
    await insert_member(connection, workspace_id, uid, role, joined_at)


async def _keep_owner(connection: Connection[Any], workspace: Workspace) -> None:
    """The workspace's own owner is one who is an owner: when they are not any more, the one who is for longest."""
    await rows(
        connection,
        "UPDATE workspaces SET owner_id = (SELECT uid FROM workspace_members WHERE workspace_id = %(id)s"
        " AND role = 'owner' ORDER BY joined_at, uid LIMIT 1) WHERE id = %(id)s AND NOT EXISTS (SELECT FROM"
        " workspace_members WHERE workspace_id = %(id)s AND role = 'owner' AND uid = %(owner)s)",
        id=workspace.id,
        owner=workspace.owner_id,
    )


async def _user(connection: Connection[Any], who: str) -> str:
    found = await rows(
        connection,
        f"SELECT id FROM users WHERE {'email = lower(%s)' if '@' in who else 'id = %s'} AND disabled_at IS NULL",
        who,
    )
    if not found:
        raise Missing("user")
    uid: str = found[0][0]
    return uid


async def _read_member(connection: Connection[Any], workspace_id: str, uid: str) -> Member:
    return _member((await rows(connection, f"{_MEMBERS} AND m.uid = %s", workspace_id, uid))[0])


def _member(row: Row) -> Member:
    uid, email, name, role, joined_at = row
    return Member(uid, email, name, WorkspaceRole(role), joined_at)


def _membership(row: Row) -> Membership:
    uid, role, joined_at = row[8:]
    return Membership(read_workspace(row[:8]), uid, WorkspaceRole(role), joined_at)
